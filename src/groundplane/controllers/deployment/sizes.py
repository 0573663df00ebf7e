"""The arithmetic of a rollout. Pure. pkg/controller/deployment/util/deployment_util.go.

Sizes here are `spec.replicas` of sets (what was asked), unless a name says available.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from groundplane.client.contract import Object
from groundplane.client.objects import name_of
from groundplane.controllers.deployment.annotations import DESIRED, MAXIMUM, number


def replicas_of(obj: Object) -> int:
    value = (obj.get("spec") or {}).get("replicas")
    return 1 if value is None else int(value)


def total(sets: Iterable[Object]) -> int:
    return sum(replicas_of(each) for each in sets)


def status_count(sets: Iterable[Object | None], field: str) -> int:
    return sum(int((each.get("status") or {}).get(field) or 0) for each in sets if each is not None)


def is_rolling(deployment: Object) -> bool:
    return ((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


def fenceposts(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: surge rounded up, unavailable down, never both 0 (nothing could move)."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas_of(deployment)
    surge = _scaled(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _scaled(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def max_surge(deployment: Object) -> int:
    return fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    wanted = replicas_of(deployment)
    if not is_rolling(deployment) or wanted == 0:
        return 0
    return min(fenceposts(deployment)[1], wanted)


def new_set_size(deployment: Object, sets: Sequence[Object], current: int) -> int:
    """How large the newest set may become now, `sets` being all of them, itself included at `current`."""
    wanted = replicas_of(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - total(sets)
    if room <= 0:
        return current
    return current + min(room, wanted - current)


def proportional(deployment: Object, sets: Sequence[Object]) -> dict[str, int]:
    """Sizes by name when a deployment is scaled in the middle of a rollout: each set gets its share of the change.

    What rounding leaves over goes to the first: the newest or largest set when growing, the largest when shrinking.
    """
    wanted = replicas_of(deployment)
    allowed = wanted + max_surge(deployment) if wanted > 0 else 0
    change = allowed - total(sets)
    if change > 0:
        ordered = sorted(sets, key=lambda s: (-replicas_of(s), _reversed(s["metadata"].get("creationTimestamp"))))
    else:
        ordered = sorted(sets, key=lambda s: (-replicas_of(s), s["metadata"].get("creationTimestamp") or ""))
    sizes: dict[str, int] = {}
    given = 0
    for each in ordered:
        share = _share(deployment, each, change, given) if change else 0
        sizes[name_of(each)] = replicas_of(each) + share
        given += share
    if change and ordered:
        first = name_of(ordered[0])
        sizes[first] = max(sizes[first] + change - given, 0)
    return sizes


def is_saturated(deployment: Object, new_set: Object | None) -> bool:
    """The newest set carries the whole deployment and all its pods are available."""
    if new_set is None:
        return False
    wanted = replicas_of(deployment)
    return (
        replicas_of(new_set) == wanted
        and number(new_set, DESIRED) == wanted
        and status_count([new_set], "availableReplicas") == wanted
    )


def _share(deployment: Object, each: Object, change: int, given: int) -> int:
    left = change - given
    if not replicas_of(each) or not left:
        return 0
    fraction = _fraction(deployment, each)
    return min(fraction, left) if change > 0 else max(fraction, left)


def _fraction(deployment: Object, each: Object) -> int:
    if replicas_of(deployment) == 0:
        return -replicas_of(each)
    annotated = number(each, MAXIMUM) or int((deployment.get("status") or {}).get("replicas") or 0)
    if not annotated:
        return 0
    size = replicas_of(each) * (replicas_of(deployment) + max_surge(deployment)) / annotated
    return math.floor(size + 0.5) - replicas_of(each)


def _scaled(value: Any, of: int, *, up: bool) -> int:
    """intstr.GetScaledValueFromIntOrPercent."""
    if isinstance(value, str):
        share = int(value.removesuffix("%")) * of / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value or 0)


def _reversed(stamp: str | None) -> tuple[int, ...]:
    """A key that sorts stamps newest first."""
    return tuple(-ord(c) for c in stamp or "")
