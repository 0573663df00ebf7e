"""A ReplicaSet's status out of its pods. Pure. pkg/controller/replicaset/replica_set_utils.go `calculateStatus`."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.client.contract import Object
from groundplane.client.objects import condition, labels_of
from groundplane.controllers.pods import is_available, is_ready, ready_since


def status(
    owner: Object, active: Sequence[Object], terminating: Sequence[Object], failure: tuple[str, str] | None, now: float
) -> Object:
    """The whole new status. `failure` is (reason, message) of what could not be created or deleted, if anything."""
    spec = owner.get("spec") or {}
    wanted = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    min_ready = int(spec.get("minReadySeconds") or 0)
    ready = [pod for pod in active if is_ready(pod)]
    counts = {
        "fullyLabeledReplicas": sum(1 for pod in active if wanted.items() <= labels_of(pod).items()),
        "readyReplicas": len(ready),
        "availableReplicas": sum(1 for pod in ready if is_available(pod, min_ready, now)),
        "observedGeneration": owner["metadata"].get("generation") or 0,
    }
    new: Object = {"replicas": len(active)} | {word: count for word, count in counts.items() if count}
    if owner.get("kind") != "ReplicationController":
        new["terminatingReplicas"] = len(terminating)
    if conditions := _conditions(owner, failure, now):
        new["conditions"] = conditions
    return new


def _conditions(owner: Object, failure: tuple[str, str] | None, now: float) -> list[Object]:
    """ReplicaFailure is set by the first failure, kept by later ones, removed by success."""
    old = list((owner.get("status") or {}).get("conditions") or ())
    if failure is None:
        return [c for c in old if c.get("type") != "ReplicaFailure"]
    if any(c.get("type") == "ReplicaFailure" for c in old):
        return old
    return [*old, condition("ReplicaFailure", "True", *failure, now=now)]


def next_check(owner: Object, active: Sequence[Object], now: float) -> float | None:
    """Seconds until the next ready pod becomes available, None where none will."""
    min_ready = int((owner.get("spec") or {}).get("minReadySeconds") or 0)
    waits = [since + min_ready - now for pod in active if min_ready and (since := ready_since(pod)) is not None]
    return min((wait for wait in waits if wait > 0), default=None)
