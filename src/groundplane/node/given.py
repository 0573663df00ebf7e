"""What a pod and its containers were given, as the status repeats it: resources and mounts. Pure.

kubelet's convertToAPIContainerStatuses and convertToAPIPodLevelResourcesStatus (pkg/kubelet/kubelet_pods.go, 1.36).
Nothing resizes a running container here: what is in force is what the specification said when it was started.
"""

from __future__ import annotations

from typing import Any

from groundplane.kinds import podresources
from groundplane.kinds.quantities import Quantity
from groundplane.node.resources import pod_resources
from groundplane.node.views import ContainerSpec, Pod

_BINARY = ("memory", "ephemeral-storage", "hugepages-")


def container_resources(container: ContainerSpec, container_id: str, old: dict[str, Any]) -> dict[str, Any]:
    """The two fields of a container's status, once the container exists. `old` is its last known status.

    A container keeps what it was started with, whatever its specification says later.
    """
    resources = container.get("resources") or {}
    if old.get("containerID") == container_id and "resources" in old:
        resources = old["resources"]
    requests = resources.get("requests")
    return {"resources": resources, **({"allocatedResources": requests} if requests else {})}


def volume_mounts(container: ContainerSpec) -> dict[str, Any]:
    """The status field `volumeMounts`. Read-only mounts are not recursively so (KEP-3857): the field says which."""
    mounts = []
    for mount in container.get("volumeMounts") or ():
        shown: dict[str, Any] = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            shown |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
        mounts.append(shown)
    return {"volumeMounts": mounts} if mounts else {}


def pod_level(pod: Pod, statuses: list[dict[str, Any]]) -> dict[str, Any]:
    """The pod's own `resources` and `allocatedResources`. `statuses` are its containers', which may be older.

    Once the pod runs, upstream reads its cgroup: only CPU and memory, and limits only where every container has one.
    """
    shown = {s["name"]: {"resources": s["resources"]} for s in statuses if "resources" in s}
    both = {key: pod["spec"].get(key) or () for key in ("containers", "initContainers")}
    spec = {**pod["spec"], **{key: [{**c, **shown.get(c["name"], {})} for c in found] for key, found in both.items()}}
    requests, limits = podresources.requests(spec), podresources.limits(spec)
    allocated = _quantities(requests)
    if (pod.get("status") or {}).get("phase") == "Running":
        cgroup = pod_resources({**pod, "spec": spec})
        kept = {"cpu": cgroup.cpu_quota, "memory": cgroup.memory}
        requests = {name: size for name, size in requests.items() if name in kept}
        limits = {name: size for name, size in limits.items() if kept.get(name)}
    resources = {"limits": _quantities(limits), "requests": _quantities(requests)}
    status: dict[str, Any] = {"resources": {key: amounts for key, amounts in resources.items() if amounts}}
    return status | ({"allocatedResources": allocated} if allocated else {})


def _quantities(amounts: podresources.Amounts) -> dict[str, str]:
    return {name: _text(name, size) for name, size in sorted(amounts.items())}


def _text(name: str, size: int) -> str:
    if name == "cpu":
        return str(Quantity(size * 1_000_000, "DecimalSI"))
    return str(Quantity(size * 1_000_000_000, "BinarySI" if name.startswith(_BINARY) else "DecimalSI"))
