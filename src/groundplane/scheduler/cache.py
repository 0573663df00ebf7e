"""Nodes with their pods, kept by informer events and by assumptions; knows which nodes changed since a moment.

Every change of a node gives it the next generation and moves it to the end of `_changed`, so that who remembers a
generation finds what changed since by walking back from the end: the cost follows the changes, not the cluster.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from groundplane.client.contract import Object
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo


class Cache:
    """The scheduler's picture of the cluster."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}  # those that exist
        self.generation = 0
        self._known: dict[str, NodeInfo] = {}  # and those of which only pods are known
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._where: dict[str, str] = {}  # node by pod uid
        self._assumed: set[str] = set()

    def put_node(self, node: Object) -> NodeInfo:
        name = node["metadata"]["name"]
        info = self._info(name)
        info.set_node(node)
        self.nodes[name] = info
        self._touch(info)
        return info

    def remove_node(self, name: str) -> None:
        if (info := self.nodes.pop(name, None)) is None:
            return
        info.node = None
        self._touch(info)
        if not info.pods:
            del self._known[name]

    def put_pod(self, pod: PodInfo, node: str) -> None:
        """A pod that the API server shows on a node; confirms an assumption, corrects a wrong one."""
        self._assumed.discard(pod.uid)
        at = self._where.get(pod.uid)
        if at == node and _same_use(self._known[node].pods[pod.uid], pod):
            self._known[node].pods[pod.uid] = pod
            return
        if at is not None:
            self._take(pod.uid, at)
        self._place(pod, node)

    def known(self, uid: str) -> PodInfo | None:
        """What is counted for a pod that is on a node."""
        at = self._where.get(uid)
        return self._known[at].pods[uid] if at is not None else None

    def assume(self, pod: PodInfo, node: str) -> None:
        """Count a pod on a node before anyone else knows."""
        self._place(pod, node)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> None:
        """Binding failed: the assumption is void. A pod that was confirmed meanwhile stays."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def remove_pod(self, uid: str) -> NodeInfo | None:
        """The node the pod was on, if any."""
        self._assumed.discard(uid)
        at = self._where.get(uid)
        return self._take(uid, at) if at is not None else None

    def holds(self, uid: str) -> bool:
        """Whether the pod is on a node, assumed or shown."""
        return uid in self._where

    def changed_since(self, generation: int) -> Iterator[tuple[str, NodeInfo | None]]:
        """(name, node) of what changed after `generation`, newest first; None for a node that is gone."""
        for name in reversed(self._changed):
            if self._changed[name] <= generation:
                return
            yield name, self.nodes.get(name)

    def _info(self, name: str) -> NodeInfo:
        if (info := self._known.get(name)) is None:
            info = self._known[name] = NodeInfo(name)
        return info

    def _place(self, pod: PodInfo, node: str) -> None:
        info = self._info(node)
        info.add_pod(pod)
        self._where[pod.uid] = node
        self._touch(info)

    def _take(self, uid: str, node: str) -> NodeInfo:
        info = self._known[node]
        info.remove_pod(uid)
        del self._where[uid]
        self._touch(info)
        if not info.pods and info.node is None:
            del self._known[node]
        return info

    def _touch(self, info: NodeInfo) -> None:
        self.generation += 1
        info.generation = self.generation
        self._changed[info.name] = self.generation
        self._changed.move_to_end(info.name)


def _same_use(old: PodInfo, new: PodInfo) -> bool:
    """Most updates of a running pod are of its status: nothing that plugins count."""
    return old.requests == new.requests and old.ports == new.ports and old.cpu == new.cpu and old.memory == new.memory
