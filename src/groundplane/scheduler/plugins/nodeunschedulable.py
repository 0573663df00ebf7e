"""NodeUnschedulable: a cordoned node takes only pods that tolerate `node.kubernetes.io/unschedulable`."""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.kinds.tolerations import is_tolerated
from groundplane.scheduler.contract import SKIP, Change, Happening, Rejection, Skip
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.base import PluginBase, signed

_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable(PluginBase):
    name = "NodeUnschedulable"
    wakes = Change.NODE_ADDED | Change.NODE_TAINTS
    _cordoned = Rejection(name, ("node(s) were unschedulable",), hopeless=True)

    def sign(self, pod: PodInfo) -> Hashable:
        return signed(pod.spec.get("tolerations"))

    def helps(self, pod: PodInfo, happening: Happening) -> bool:
        return happening.node is None or not happening.node.unschedulable

    def prepare(self, pod: PodInfo) -> bool | Skip:
        return SKIP if is_tolerated(_TAINT, pod.spec.get("tolerations") or ()) else True

    def filter(self, state: bool, node: NodeInfo) -> Rejection | None:
        return self._cordoned if node.unschedulable else None
