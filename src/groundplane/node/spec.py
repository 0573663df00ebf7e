"""A pod's container as the engine's ContainerSpec: security, command, mounts, cgroup, labels.

Rules: kubelet's pkg/kubelet/kuberuntime (kuberuntime_container.go, security_context.go) and pkg/securitycontext.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.engine.contract import ContainerSpec as EngineSpec
from groundplane.engine.contract import ImageInfo, Mount, SandboxSpec, Security
from groundplane.node import views
from groundplane.node.env import expand
from groundplane.node.plan import Start, grace_of
from groundplane.node.resources import Host, cgroup_of, container_resources, pod_resources
from groundplane.node.views import ContainerSpec, Pod, full_name


class ConfigError(GroundError):
    """The container cannot be made as its pod asks; shown as CreateContainerConfigError."""


def pod_labels(pod: Pod) -> dict[str, str]:
    meta = pod["metadata"]
    return {views.POD_NAME: meta["name"], views.POD_NAMESPACE: meta["namespace"], views.POD_UID: meta["uid"]}


def hostname(pod: Pod, node_name: str) -> str:
    """pkg/kubelet/kubelet_pods.go, GeneratePodHostNameAndDomain: the pod's name, cut to 63 characters."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return node_name
    return str(spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def sandbox_spec(pod: Pod, node_name: str) -> SandboxSpec:
    spec = pod["spec"]
    meta = pod["metadata"]
    sysctls = {s["name"]: s["value"] for s in (spec.get("securityContext") or {}).get("sysctls") or ()}
    return SandboxSpec(
        name=f"k8s_POD_{meta['name']}_{meta['namespace']}_{meta['uid']}_0",
        labels=pod_labels(pod),
        hostname=hostname(pod, node_name),
        network="host" if spec.get("hostNetwork") else "pod",
        host_ipc=bool(spec.get("hostIPC")),
        share_pid=bool(spec.get("shareProcessNamespace")),
        sysctls=sysctls,
        cgroup_parent=cgroup_of(pod),
        resources=pod_resources(pod),
    )


def engine_spec(
    pod: Pod,
    start: Start,
    image: ImageInfo,
    sandbox: str,
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    *,
    node_name: str,
    log_path: str,
    host: Host,
) -> EngineSpec:
    """Everything the engine needs for one attempt of one container. Raises ConfigError."""
    container, meta, spec = start.container, pod["metadata"], pod["spec"]
    host_network = bool(spec.get("hostNetwork"))
    command = [expand(word, env) for word in container.get("command") or ()]
    args = [expand(word, env) for word in container.get("args") or ()]
    network = "host" if host_network else f"sandbox:{sandbox}"
    return EngineSpec(
        image=image.id,
        name=f"k8s_{container['name']}_{meta['name']}_{meta['namespace']}_{meta['uid']}_{start.attempt}",
        entrypoint=command or None,
        args=args or None,
        env=env,
        working_dir=container.get("workingDir", ""),
        labels={
            **pod_labels(pod),
            views.CONTAINER_NAME: container["name"],
            views.ATTEMPT: str(start.attempt),
            views.SANDBOX: sandbox,
            views.BACKOFF: str(start.backoff),
            views.IMAGE: container.get("image", ""),
        },
        mounts=mounts,
        resources=container_resources(pod, container, host),
        security=security_of(pod, container, image),
        hostname=hostname(pod, node_name),
        network=network,
        pid_mode=_pid_mode(pod, sandbox),
        ipc_mode="host" if spec.get("hostIPC") else f"sandbox:{sandbox}",
        tty=bool(container.get("tty")),
        stdin_open=bool(container.get("stdin")),
        stop_timeout=int(grace_of(pod)),
        log_path=log_path,
        cgroup_parent=cgroup_of(pod),
        hidden=True,
    )


def _pid_mode(pod: Pod, sandbox: str) -> str:
    if pod["spec"].get("hostPID"):
        return "host"
    return f"sandbox:{sandbox}" if pod["spec"].get("shareProcessNamespace") else "private"


def security_of(pod: Pod, container: ContainerSpec, image: ImageInfo) -> Security:
    """The container's security context over the pod's. Raises ConfigError where runAsNonRoot cannot be kept."""
    of_pod: Mapping[str, Any] = pod["spec"].get("securityContext") or {}
    own: Mapping[str, Any] = container.get("securityContext") or {}

    def either(name: str) -> Any:
        return own.get(name) if own.get(name) is not None else of_pod.get(name)

    uid, gid = either("runAsUser"), either("runAsGroup")
    image_user = str((image.config.get("config") or {}).get("User") or "")
    user = image_user if uid is None else str(uid)
    if gid is not None:
        user = f"{user.partition(':')[0] or '0'}:{gid}"
    if either("runAsNonRoot"):
        _check_non_root(uid, image_user, f'(pod: "{full_name(pod)}", container: {container["name"]})')
    groups = list(of_pod.get("supplementalGroups") or ())
    if of_pod.get("fsGroup") is not None:
        groups.append(of_pod["fsGroup"])
    privileged = bool(own.get("privileged"))
    capabilities = own.get("capabilities") or {}
    return Security(
        user=user,
        groups=tuple(groups),
        privileged=privileged,
        cap_add=tuple(capabilities.get("add") or ()),
        cap_drop=tuple(capabilities.get("drop") or ()),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        seccomp=_seccomp(either("seccompProfile")),
        masked_paths=() if own.get("procMount") == "Unmasked" else None,
        read_only_paths=() if own.get("procMount") == "Unmasked" else None,
    )


def _check_non_root(uid: int | None, image_user: str, whose: str) -> None:
    """security_context.go, verifyRunAsNonRoot."""
    name = image_user.partition(":")[0]
    if uid is not None:
        if uid == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {whose}")
    elif name and not name.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), "
            f"cannot verify user is non-root {whose}"
        )
    elif not name or int(name) == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {whose}")


def _seccomp(profile: Mapping[str, Any] | None) -> str | None:
    """None is the engine's default profile; without one, kubelet asks for none (seccompDefault is off upstream)."""
    match (profile or {}).get("type", "Unconfined"):
        case "RuntimeDefault":
            return None
        case "Localhost":
            return _local_profile(str((profile or {}).get("localhostProfile", "")))
    return "unconfined"


def _local_profile(name: str) -> str:
    path = os.path.join("/var/lib/kubelet/seccomp", name)
    if ".." in name.split("/") or os.path.isabs(name):
        raise ConfigError(f"seccomp profile {name!r}: must be a relative path without ..")
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"cannot load seccomp profile {path!r}: {error.strerror}") from error
