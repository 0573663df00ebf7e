"""How long a pod may stay. Pure. pkg/controller/tainteviction/taint_eviction.go."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.client.contract import Object
from groundplane.kinds.tolerations import NO_EXECUTE, tolerates

FOREVER = float("inf")


def patience(pod: Object, taints: Sequence[Object]) -> float:
    """For how many seconds the pod bears these taints together: 0 where it must go at once, or FOREVER.

    Of each taint the first toleration that matches counts; of the taints the shortest patience.
    """
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    least = FOREVER
    for taint in taints:
        if taint.get("effect") != NO_EXECUTE:
            continue
        found = next((each for each in tolerations if tolerates(each, taint)), None)
        if found is None:
            return 0
        if (seconds := found.get("tolerationSeconds")) is not None:
            least = min(least, max(seconds, 0))
    return least
