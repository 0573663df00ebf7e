"""Which finished pods are too many. Pure. pkg/controller/podgc/gc_controller.go."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.client.contract import Object
from groundplane.client.objects import name_of

THRESHOLD = 12500  # --terminated-pod-gc-threshold


def surplus(finished: Sequence[Object], threshold: int = THRESHOLD) -> list[Object]:
    """Those beyond `threshold`: evicted ones first, then the oldest."""
    count = len(finished) - threshold
    if count <= 0:
        return []

    def order(pod: Object) -> tuple[bool, str, str]:
        evicted = (pod.get("status") or {}).get("reason") == "Evicted"
        return not evicted, pod["metadata"].get("creationTimestamp") or "", name_of(pod)

    return sorted(finished, key=order)[:count]
