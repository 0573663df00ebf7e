"""How long a pod may stay. Pure. pkg/controller/tainteviction/taint_eviction.go."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.client.contract import Object
from groundplane.controllers.pods import seconds_of
from groundplane.kinds.tolerations import NO_EXECUTE, tolerates

FOREVER = float("inf")


def stays_until(pod: Object, taints: Sequence[Object], now: float) -> float:
    """The moment (wall clock) at which the pod must go: FOREVER, or `now` or earlier where it must go at once.

    Of the tolerations that match, the shortest patience counts; it begins when the taint was added.
    """
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    end = FOREVER
    for taint in taints:
        if taint.get("effect") != NO_EXECUTE:
            continue
        matching = [each for each in tolerations if tolerates(each, taint)]
        if not matching:
            return now
        patience = [each["tolerationSeconds"] for each in matching if each.get("tolerationSeconds") is not None]
        if patience:
            since = seconds_of(taint.get("timeAdded")) or now
            end = min(end, since + max(min(patience), 0))
    return end
