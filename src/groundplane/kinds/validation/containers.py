"""Containers of pods and templates (pkg/apis/core/validation: validateContainers and what it calls)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from groundplane.kinds.validation import amounts, names, probes, references, security
from groundplane.kinds.validation.errors import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
    unsupported,
)

Object = dict[str, Any]

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGE = ("File", "FallbackToLogsOnError")
_PROPAGATION = ("Bidirectional", "HostToContainer", "None")
_RESIZE = ("NotRequired", "RestartContainer")
_EPHEMERAL_FORBIDDEN = (
    "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy",
)  # fmt: skip


@dataclass(slots=True)
class Pod:
    """What checks of a container need to know of its pod."""

    volumes: dict[str, Object] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()
    grace: int = 30
    restart: str = "Always"
    names: set[str] = field(default_factory=set)


def validate(spec: Object, path: str, pod: Pod) -> Errors:
    """All containers of a pod's spec."""
    errors: Errors = []
    containers = spec.get("containers") or ()
    if not containers:
        errors.append(required(f"{path}.containers"))
    for index, container in enumerate(containers):
        where = f"{path}.containers[{index}]"
        errors += _common(container, where, pod)
        errors += _unique(container, where, pod)
        errors += probes.lifecycle(container, where, pod.grace)
        errors += probes.all_of(container, where, pod.grace)
        if container.get("restartPolicy"):
            errors += _restart_policy(container["restartPolicy"], f"{where}.restartPolicy")
    errors += host_port_conflicts(containers, f"{path}.containers")
    for index, container in enumerate(spec.get("initContainers") or ()):
        errors += _init(container, f"{path}.initContainers[{index}]", pod)
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        errors += _ephemeral(container, f"{path}.ephemeralContainers[{index}]", pod, containers)
    return errors


def _restart_policy(policy: str, path: str) -> Errors:
    allowed = ("Always", "Never", "OnFailure")
    return [] if policy in allowed else [unsupported(path, policy, allowed)]


def _init(container: Object, path: str, pod: Pod) -> Errors:
    errors = _common(container, path, pod) + _unique(container, path, pod)
    errors += host_port_conflicts((container,), path)
    policy = container.get("restartPolicy")
    if policy and policy not in ("Always", "Never", "OnFailure"):
        errors.append(unsupported(f"{path}.restartPolicy", policy, ("Always", "Never", "OnFailure")))
    if policy == "Always":  # a sidecar lives beside the containers and is probed like them
        return errors + probes.lifecycle(container, path, pod.grace) + probes.all_of(container, path, pod.grace)
    for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            text = "may not be set for init containers without restartPolicy=Always"
            errors.append(forbidden(f"{path}.{name}", text))
    return errors


def _ephemeral(container: Object, path: str, pod: Pod, containers: Iterable[Object]) -> Errors:
    bare = {name: value for name, value in container.items() if name not in _EPHEMERAL_FORBIDDEN}
    errors = _common({**bare, "resources": {}}, path, pod) + _unique(container, path, pod)
    target = container.get("targetContainerName")
    if target and target not in {one.get("name") for one in containers}:
        errors.append(not_found(f"{path}.targetContainerName", target))
    for name in _EPHEMERAL_FORBIDDEN:
        if container.get(name):
            errors.append(forbidden(f"{path}.{name}", "cannot be set for an Ephemeral Container"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        for name in ("subPath", "subPathExpr"):
            if mount.get(name):
                where = f"{path}.volumeMounts[{index}].{name}"
                errors.append(forbidden(where, "cannot be set for an Ephemeral Container"))
    return errors


def _unique(container: Object, path: str, pod: Pod) -> Errors:
    name = container.get("name", "")
    if name and name in pod.names:
        return [duplicate(f"{path}.name", name)]
    pod.names.add(name)
    return []


def _common(container: Object, path: str, pod: Pod) -> Errors:
    """What init, ordinary and ephemeral containers have in common."""
    errors: Errors = []
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid(f"{path}.name", name, message) for message in names.label(name)]
    image = container.get("image", "")
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy", "")
    if policy not in _MESSAGE:
        where = f"{path}.terminationMessagePolicy"
        errors.append(unsupported(where, policy, _MESSAGE) if policy else required(where))
    if container.get("ports"):
        errors += _ports(container["ports"], f"{path}.ports")
    if container.get("env"):
        errors += references.environment(container["env"], f"{path}.env")
    if container.get("envFrom"):
        errors += references.environment_from(container["envFrom"], f"{path}.envFrom")
    errors += _mounts(container, path, pod)
    policy = container.get("imagePullPolicy", "")
    if policy not in _PULL:
        where = f"{path}.imagePullPolicy"
        errors.append(unsupported(where, policy, _PULL) if policy else required(where))
    if container["resources"]:
        errors += amounts.requirements(container["resources"], f"{path}.resources", pod.claims)
    if container.get("resizePolicy"):
        errors += _resize(container["resizePolicy"], f"{path}.resizePolicy")
    if container.get("securityContext"):
        errors += security.container(container["securityContext"], f"{path}.securityContext")
    return errors


def _ports(ports: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            if messages := names.port_name(name):
                errors += [invalid(f"{where}.name", name, message) for message in messages]
            elif name in seen:
                errors.append(duplicate(f"{where}.name", name))
            else:
                seen.add(name)
        number = port.get("containerPort", 0)
        if not number:
            errors.append(required(f"{where}.containerPort"))
        else:
            errors += [invalid(f"{where}.containerPort", number, m) for m in names.port_number(number)]
        if host := port.get("hostPort"):
            errors += [invalid(f"{where}.hostPort", host, message) for message in names.port_number(host)]
        protocol = port.get("protocol", "")
        if protocol not in _PROTOCOLS:
            where = f"{where}.protocol"
            errors.append(unsupported(where, protocol, _PROTOCOLS) if protocol else required(where))
    return errors


def host_port_conflicts(containers: Iterable[Object], path: str) -> Errors:
    """No host port twice in one pod."""
    errors: Errors = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for port_index, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in seen:
                where = f"{path}[{index}]" if path.endswith("ontainers") else path
                errors.append(duplicate(f"{where}.ports[{port_index}].hostPort", text))
            seen.add(text)
    return errors


def _mounts(container: Object, path: str, pod: Pod) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    devices = container.get("volumeDevices") or ()
    device_names = {device.get("name") for device in devices}
    device_paths = {device.get("devicePath") for device in devices}
    privileged = bool((container.get("securityContext") or {}).get("privileged"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}.volumeMounts[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        elif name not in pod.volumes:
            errors.append(not_found(f"{where}.name", name))
        if not target:
            errors.append(required(f"{where}.mountPath"))
        elif target in seen:
            errors.append(invalid(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        if name in device_names:
            errors.append(invalid(f"{where}.name", name, "must not already exist in volumeDevices"))
        if target in device_paths:
            text = "must not already exist as a path in volumeDevices"
            errors.append(invalid(f"{where}.mountPath", target, text))
        errors += _mount_options(mount, where, f"{path}.volumeMounts", privileged)
    return errors + _devices(devices, path, pod)


def _mount_options(mount: Object, where: str, mounts: str, privileged: bool) -> Errors:
    errors: Errors = []
    if mount.get("subPath"):
        errors += descending_path(mount["subPath"], f"{mounts}.subPath")  # upstream names no index here
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            text = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid(f"{mounts}.subPathExpr", mount["subPathExpr"], text))
        errors += descending_path(mount["subPathExpr"], f"{mounts}.subPathExpr")
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        if propagation not in _PROPAGATION:
            errors.append(unsupported(f"{where}.mountPropagation", propagation, _PROPAGATION))
        elif propagation == "Bidirectional" and not privileged:
            text = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(forbidden(f"{where}.mountPropagation", text))
    recursive = mount.get("recursiveReadOnly")
    if recursive is not None:
        allowed = ("Disabled", "Enabled", "IfPossible")
        if recursive not in allowed:
            errors.append(unsupported(f"{where}.recursiveReadOnly", recursive, allowed))
        elif recursive != "Disabled" and not mount.get("readOnly"):
            text = "may only be specified when readOnly is true"
            errors.append(forbidden(f"{where}.recursiveReadOnly", text))
    return errors


def _devices(devices: Iterable[Object], path: str, pod: Pod) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, device in enumerate(devices):
        where = f"{path}.volumeDevices[{index}]"
        name, target = device.get("name", ""), device.get("devicePath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        elif name not in pod.volumes:
            errors.append(not_found(f"{where}.name", name))
        elif not {"persistentVolumeClaim", "ephemeral"} & pod.volumes[name].keys():
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(f"{where}.name", name, text))
        if not target:
            errors.append(required(f"{where}.devicePath"))
        elif target in seen:
            errors.append(invalid(f"{where}.devicePath", target, "must be unique"))
        seen.add(target)
    return errors


def _resize(policies: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for policy in policies:
        resource, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if resource not in ("cpu", "memory"):
            errors.append(unsupported(path, resource, ("cpu", "memory")) if resource else required(path))
        elif resource in seen:
            errors.append(duplicate(path, resource))
        seen.add(resource)
        if restart not in _RESIZE:
            errors.append(unsupported(path, restart, _RESIZE) if restart else required(path))
    return errors


def descending_path(value: str, path: str) -> Errors:
    """A relative path that never goes up (validateLocalDescendingPath)."""
    if value.startswith("/"):
        return [invalid(path, value, "must be a relative path")]
    return no_backsteps(value, path)


def no_backsteps(value: str, path: str) -> Errors:
    if ".." in value.split("/"):
        return [invalid(path, value, "must not contain '..'")]
    return []
