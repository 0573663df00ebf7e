"""TaintToleration: NoSchedule and NoExecute taints keep pods away, PreferNoSchedule ones make a node worse."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from groundplane.kinds.tolerations import PREFER_NO_SCHEDULE, is_tolerated, untolerated
from groundplane.scheduler.contract import MAX_SCORE, Change, Happening, Rejection
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.base import PluginBase, signed

Tolerations = Sequence[Mapping[str, Any]]


class TaintToleration(PluginBase):
    name = "TaintToleration"
    wakes = Change.NODE_ADDED | Change.NODE_TAINTS
    normalizes = True
    _tainted = Rejection(name, ("node(s) had untolerated taint(s)",), hopeless=True)

    def sign(self, pod: PodInfo) -> Hashable:
        return signed(pod.spec.get("tolerations"))

    def helps(self, pod: PodInfo, happening: Happening) -> bool:
        return happening.node is None or self.filter(self.prepare(pod), happening.node) is None

    def prepare(self, pod: PodInfo) -> Tolerations:
        return pod.spec.get("tolerations") or ()

    def filter(self, state: Tolerations, node: NodeInfo) -> Rejection | None:
        return self._tainted if node.taints and untolerated(node.taints, state) is not None else None

    def prepare_score(self, pod: PodInfo) -> Tolerations:
        return [t for t in pod.spec.get("tolerations") or () if t.get("effect") in (None, "", PREFER_NO_SCHEDULE)]

    def score(self, state: Tolerations, node: NodeInfo) -> int:
        """How many taints the pod had better avoid."""
        return sum(1 for t in node.taints if t.get("effect") == PREFER_NO_SCHEDULE and not is_tolerated(t, state))

    def normalize(self, raw: int, highest: int) -> int:
        return MAX_SCORE - raw * MAX_SCORE // highest if highest else MAX_SCORE
