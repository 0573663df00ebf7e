"""NodePorts: two pods cannot have the same host port; 0.0.0.0 collides with every address."""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.scheduler.contract import SKIP, Change, Rejection, Skip
from groundplane.scheduler.nodeinfo import ANY_ADDRESS, NodeInfo, PodInfo, Port
from groundplane.scheduler.plugins.base import PluginBase


class NodePorts(PluginBase):
    name = "NodePorts"
    wakes = Change.NODE_ADDED | Change.POD_ENDED
    _taken = Rejection(name, ("node(s) didn't have free ports for the requested pod ports",))

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.ports

    def prepare(self, pod: PodInfo) -> tuple[Port, ...] | Skip:
        return pod.ports or SKIP

    def filter(self, state: tuple[Port, ...], node: NodeInfo) -> Rejection | None:
        if not node.ports:
            return None
        return self._taken if any(_collides(port, used) for port in state for used in node.ports) else None


def _collides(one: Port, other: Port) -> bool:
    if one[1:] != other[1:]:
        return False
    return ANY_ADDRESS in (one[0], other[0]) or one[0] == other[0]
