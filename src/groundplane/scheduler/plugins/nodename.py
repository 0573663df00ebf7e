"""NodeName: a pod that names its node runs there or nowhere."""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.scheduler.contract import SKIP, Rejection, Skip
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.base import PluginBase


class NodeName(PluginBase):
    name = "NodeName"
    _other = Rejection(name, ("node(s) didn't match the requested node name",), hopeless=True)

    def sign(self, pod: PodInfo) -> Hashable:
        return pod.spec.get("nodeName")

    def prepare(self, pod: PodInfo) -> str | Skip:
        return pod.spec.get("nodeName") or SKIP

    def filter(self, state: str, node: NodeInfo) -> Rejection | None:
        return None if node.name == state else self._other
