"""NodeAffinity: `nodeSelector` and required terms keep nodes out, preferred terms add their weights."""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.kinds.nodeaffinity import Required, Term, preferred
from groundplane.scheduler.contract import MAX_SCORE, SKIP, Change, Happening, Rejection, Skip
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.base import PluginBase, signed


class NodeAffinity(PluginBase):
    name = "NodeAffinity"
    wakes = Change.NODE_ADDED | Change.NODE_LABELS
    normalizes = True
    _unmatched = Rejection(name, ("node(s) didn't match Pod's node affinity/selector",), hopeless=True)

    def sign(self, pod: PodInfo) -> Hashable:
        affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity")
        return signed(affinity), signed(pod.spec.get("nodeSelector"))

    def helps(self, pod: PodInfo, happening: Happening) -> bool:
        node = happening.node
        return node is None or Required(pod.spec).matches(node.name, node.labels)

    def prepare(self, pod: PodInfo) -> Required | Skip:
        required = Required(pod.spec)
        return SKIP if required.is_empty else required

    def filter(self, state: Required, node: NodeInfo) -> Rejection | None:
        return None if state.matches(node.name, node.labels) else self._unmatched

    def prepare_score(self, pod: PodInfo) -> list[tuple[int, Term]] | Skip:
        return preferred(pod.spec) or SKIP

    def score(self, state: list[tuple[int, Term]], node: NodeInfo) -> int:
        return sum(weight for weight, term in state if term.matches(node.name, node.labels))

    def normalize(self, raw: int, highest: int) -> int:
        return raw * MAX_SCORE // highest if highest else 0
