"""How many pods to create, or which to delete. Pure.

pkg/controller/replicaset/replica_set.go `manageReplicas`; the order of deletion is pkg/controller/controller_utils.go
`ActivePodsWithRanks`.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from groundplane.client.contract import Object
from groundplane.client.objects import annotations_of, uid_of
from groundplane.controllers.pods import is_active, is_ready, phase_of, ready_since, seconds_of

BURST_REPLICAS = 500  # replica_set.go BurstReplicas: at most so many creations or deletions in one go
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """One of the two, or nothing."""

    create: int = 0
    delete: list[Object] = field(default_factory=list)


def plan(replicas: int, active: Sequence[Object], related: Iterable[Object], now: float) -> Plan:
    """From the wanted number and the active pods. `related`: pods of all sets of one owner, to rank by node."""
    surplus = len(active) - replicas
    if surplus < 0:
        return Plan(create=min(-surplus, BURST_REPLICAS))
    if surplus == 0:
        return Plan()
    surplus = min(surplus, BURST_REPLICAS)
    if surplus == len(active):
        return Plan(delete=list(active))
    return Plan(delete=deletion_order(active, related, now)[:surplus])


def batches(count: int) -> Iterable[int]:
    """controller_utils.go slowStartBatch: 1, 2, 4, …, so that a quota that refuses all pods is asked few times."""
    size = 1
    while count > 0:
        batch = min(size, count)
        yield batch
        count -= batch
        size *= 2


def deletion_order(pods: Sequence[Object], related: Iterable[Object], now: float) -> list[Object]:
    """Pods, those to delete first coming first."""
    crowd = Counter((pod.get("spec") or {}).get("nodeName") or "" for pod in related if is_active(pod))
    ranked = [_Ranked(pod, crowd[(pod.get("spec") or {}).get("nodeName") or ""], now) for pod in pods]
    return [r.pod for r in sorted(ranked, key=functools.cmp_to_key(_compare))]


class _Ranked:
    """A pod with what its place in the order depends on, computed once."""

    __slots__ = ("created", "first", "now", "pod", "ready_at", "restarts")

    def __init__(self, pod: Object, neighbours: int, now: float) -> None:
        self.pod = pod
        self.now = now
        ready = is_ready(pod)
        # Unscheduled before scheduled; by phase; unready before ready; cheap before dear; crowded node first.
        self.first = (
            bool((pod.get("spec") or {}).get("nodeName")),
            _PHASES.get(phase_of(pod), 0),
            ready,
            deletion_cost(pod),
            -neighbours,
        )
        self.ready_at = ready_since(pod) if ready else None
        statuses = pod.get("status") or {}
        self.restarts = (
            -max((c.get("restartCount") or 0 for c in statuses.get("containerStatuses") or ()), default=0),
            -max((c.get("restartCount") or 0 for c in statuses.get("initContainerStatuses") or ()), default=0),
        )
        self.created = seconds_of(pod["metadata"].get("creationTimestamp"))


def _compare(a: _Ranked, b: _Ranked) -> int:
    if a.first != b.first:
        return -1 if a.first < b.first else 1
    if a.ready_at != b.ready_at:
        return _younger(a, b, a.ready_at, b.ready_at)
    if a.restarts != b.restarts:
        return -1 if a.restarts < b.restarts else 1
    if a.created != b.created:
        return _younger(a, b, a.created, b.created)
    return 0


def _younger(a: _Ranked, b: _Ranked, at: float | None, bt: float | None) -> int:
    """The younger one first, ages compared by the power of two they fall in (KEP-2185), equal ones by uid."""
    if at is None or bt is None:
        return -1 if at is None else 1
    ages = _magnitude(a.now - at) - _magnitude(b.now - bt)
    if ages:
        return ages
    return -1 if uid_of(a.pod) < uid_of(b.pod) else 1


def _magnitude(seconds: float) -> int:
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def deletion_cost(pod: Object) -> int:
    """The annotation's value; what is no number counts as 0."""
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0
