"""What the scheduler knows of a pod and of a node, in numbers: read once, so that deciding only compares integers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from groundplane.client.contract import Object
from groundplane.client.objects import Key
from groundplane.kinds import podresources

Port = tuple[str, str, int]
"""(host IP, protocol, host port); 0.0.0.0 means every address."""

ANY_ADDRESS = "0.0.0.0"


_COUNTED = ("containers", "initContainers", "overhead", "resources", "priority")


class PodInfo:
    """A pod with what plugins ask about it."""

    __slots__ = ("cpu", "key", "memory", "pod", "ports", "priority", "requests", "signature", "uid")

    def __init__(self, pod: Object) -> None:
        meta, spec = pod["metadata"], pod.get("spec") or {}
        self.pod = pod
        self.key: Key = (meta.get("namespace") or "", meta["name"])
        self.uid: str = meta.get("uid") or ""
        self.priority: int = spec.get("priority") or 0
        self.requests = {r: n for r, n in podresources.requests(spec).items() if n}
        self.cpu, self.memory = podresources.weighed_requests(spec)
        self.ports = tuple(_ports(spec))
        self.signature: Hashable = None  # filled by the cycle

    @property
    def spec(self) -> dict[str, Any]:
        return self.pod.get("spec") or {}

    def follow(self, pod: Object) -> PodInfo:
        """What is known of a newer state of the same pod: itself, where nothing changed that was counted.

        Comparing costs a tenth of counting anew, and most updates are of the status.
        """
        new, old = pod.get("spec") or {}, self.spec
        if any(new.get(word) != old.get(word) for word in _COUNTED):
            return PodInfo(pod)
        self.pod = pod
        return self


def _ports(spec: dict[str, Any]) -> Iterable[Port]:
    containers = (*(spec.get("containers") or ()), *_sidecars(spec))
    for container in containers:
        for port in container.get("ports") or ():
            if number := port.get("hostPort"):
                yield (port.get("hostIP") or ANY_ADDRESS, port.get("protocol") or "TCP", int(number))


def _sidecars(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]


class NodeInfo:
    """A node with the sums over its pods, assumed ones included. `node` is None while only its pods are known."""

    __slots__ = (
        "allocatable",
        "cpu",
        "generation",
        "images",
        "labels",
        "memory",
        "name",
        "node",
        "pods",
        "ports",
        "requested",
        "taints",
        "unschedulable",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: Object | None = None
        self.labels: dict[str, str] = {}
        self.taints: tuple[dict[str, Any], ...] = ()
        self.unschedulable = False
        self.allocatable: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.pods: dict[str, PodInfo] = {}  # by uid
        self.requested: dict[str, int] = {}
        self.cpu = 0  # requests with defaults, for scoring
        self.memory = 0
        self.ports: dict[Port, int] = {}
        self.generation = 0

    def set_node(self, node: Object) -> None:
        spec, status = node.get("spec") or {}, node.get("status") or {}
        self.node = node
        self.labels = node["metadata"].get("labels") or {}
        self.taints = tuple(spec.get("taints") or ())
        self.unschedulable = bool(spec.get("unschedulable"))
        self.allocatable = podresources.amounts(status.get("allocatable"))
        self.images = {
            name: int(image.get("sizeBytes") or 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }

    def add_pod(self, pod: PodInfo) -> None:
        self.pods[pod.uid] = pod
        self._count(pod, 1)

    def remove_pod(self, uid: str) -> None:
        if (pod := self.pods.pop(uid, None)) is not None:
            self._count(pod, -1)

    def _count(self, pod: PodInfo, sign: int) -> None:
        for resource, value in pod.requests.items():
            self.requested[resource] = self.requested.get(resource, 0) + sign * value
        self.cpu += sign * pod.cpu
        self.memory += sign * pod.memory
        for port in pod.ports:
            self.ports[port] = self.ports.get(port, 0) + sign
            if not self.ports[port]:
                del self.ports[port]
