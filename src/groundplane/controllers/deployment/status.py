"""A Deployment's counts and conditions. Pure. pkg/controller/deployment: sync.go `calculateStatus`, progress.go.

Available        enough pods serve
Progressing      True while the rollout moves or has ended well; False once nothing moved for
                 progressDeadlineSeconds; Unknown while paused
ReplicaFailure   a set cannot create or delete pods
"""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object
from groundplane.client.objects import name_of
from groundplane.controllers.deployment.sizes import max_unavailable, replicas_of, status_count, total
from groundplane.controllers.pods import seconds_of

AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
NO_DEADLINE = 2**31 - 1


def deadline_of(deployment: Object) -> int | None:
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == NO_DEADLINE else int(seconds)


def condition_in(status: Object, type: str) -> Object | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == type:
            found: Object = condition
            return found
    return None


def with_condition(status: Object, type: str, value: str, reason: str, message: str, now: float) -> Object:
    """util.SetDeploymentCondition: the same status for the same reason changes nothing, message included."""
    old = condition_in(status, type)
    if old is not None and old.get("status") == value and old.get("reason") == reason:
        return status
    stamp = rfc3339(now)
    since = old.get("lastTransitionTime") if old is not None and old.get("status") == value else stamp
    new = {
        "type": type,
        "status": value,
        "lastUpdateTime": stamp,
        "lastTransitionTime": since or stamp,
        "reason": reason,
        "message": message,
    }
    return {**without_condition(status, type), "conditions": [*_others(status, type), new]}


def without_condition(status: Object, type: str) -> Object:
    if condition_in(status, type) is None:
        return status
    return {**status, "conditions": _others(status, type)}


def _others(status: Object, type: str) -> list[Object]:
    return [c for c in status.get("conditions") or () if c.get("type") != type]


def counts(deployment: Object, sets: Sequence[Object], new: Object | None, now: float) -> Object:
    """Counts of all sets, and the Available condition; other conditions stay."""
    old = deployment.get("status") or {}
    available = status_count(sets, "availableReplicas")
    numbers = {
        "observedGeneration": int(deployment["metadata"].get("generation") or 0),
        "replicas": status_count(sets, "replicas"),
        "updatedReplicas": status_count([new], "replicas"),
        "readyReplicas": status_count(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(total(sets) - available, 0),
    }
    status: Object = {word: number for word, number in numbers.items() if number}
    status["terminatingReplicas"] = status_count(sets, "terminatingReplicas")
    if old.get("collisionCount") is not None:
        status["collisionCount"] = old["collisionCount"]
    if old.get("conditions"):
        status["conditions"] = old["conditions"]
    if available >= replicas_of(deployment) - max_unavailable(deployment):
        words = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        words = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return with_condition(status, AVAILABLE, *words, now)


def rollout(deployment: Object, sets: Sequence[Object], new: Object | None, now: float) -> Object:
    """The whole status of a deployment that rolls out (progress.go syncRolloutStatus)."""
    status = counts(deployment, sets, new, now)
    deadline = deadline_of(deployment)
    if deadline is None:
        status = without_condition(status, PROGRESSING)
    else:
        status = _progress(deployment, status, new, deadline, now)
    failure = next((c for s in _new_first(sets, new) if (c := condition_in(s.get("status") or {}, FAILURE))), None)
    if failure is None:
        return without_condition(status, FAILURE)
    return with_condition(
        status, FAILURE, failure["status"], failure.get("reason") or "", failure.get("message") or "", now
    )


def _progress(deployment: Object, status: Object, new: Object | None, deadline: int, now: float) -> Object:
    current = condition_in(status, PROGRESSING)
    done = current is not None and current.get("reason") == "NewReplicaSetAvailable"
    if done and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return status
    what = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        message = f"{what} has successfully progressed."
        return with_condition(status, PROGRESSING, "True", "NewReplicaSetAvailable", message, now)
    if _has_moved(deployment.get("status") or {}, status):
        stamp = rfc3339(now)
        since = current.get("lastTransitionTime") if current and current.get("status") == "True" else stamp
        moving = {
            "type": PROGRESSING,
            "status": "True",
            "lastUpdateTime": stamp,  # always renewed: the deadline counts from here
            "lastTransitionTime": since or stamp,
            "reason": "ReplicaSetUpdated",
            "message": f"{what} is progressing.",
        }
        return {**status, "conditions": [*_others(status, PROGRESSING), moving]}
    if _is_late(current, deadline, now):
        message = f"{what} has timed out progressing."
        return with_condition(status, PROGRESSING, "False", "ProgressDeadlineExceeded", message, now)
    return status


def is_complete(deployment: Object, status: Object) -> bool:
    """All pods are of the new template and available, and no old one is left."""
    wanted = replicas_of(deployment)
    return all(int(status.get(w) or 0) == wanted for w in ("updatedReplicas", "replicas", "availableReplicas")) and int(
        status.get("observedGeneration") or 0
    ) >= int(deployment["metadata"].get("generation") or 0)


def _has_moved(old: Object, new: Object) -> bool:
    def get(status: Object, word: str) -> int:
        return int(status.get(word) or 0)

    def of_old(status: Object) -> int:
        return get(status, "replicas") - get(status, "updatedReplicas")

    grown = any(get(new, word) > get(old, word) for word in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or of_old(new) < of_old(old)


def _is_late(current: Object | None, deadline: int, now: float) -> bool:
    if current is None or current.get("reason") == "NewReplicaSetAvailable":
        return False
    if current.get("reason") == "ProgressDeadlineExceeded":
        return True
    since = seconds_of(current.get("lastUpdateTime"))
    return since is not None and since + deadline < now


def next_check(deployment: Object, status: Object, now: float) -> float | None:
    """Seconds until the deadline must be looked at, if the rollout may then be late (requeueStuckDeployment)."""
    current = condition_in(status, PROGRESSING)
    deadline = deadline_of(deployment)
    if deadline is None or current is None or is_complete(deployment, status):
        return None
    if current.get("reason") in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable"):
        return None
    since = seconds_of(current.get("lastUpdateTime"))
    return None if since is None else max(since + deadline - now + 1, 1.0)


def paused_condition(deployment: Object, now: float) -> Object | None:
    """The status with Progressing set or reset by a change of `paused`, None where nothing changed."""
    status = deployment.get("status") or {}
    if deadline_of(deployment) is None:
        return None
    current = condition_in(status, PROGRESSING)
    reason = current.get("reason") if current else ""
    if reason == "ProgressDeadlineExceeded":
        return None
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason != "DeploymentPaused":
        return with_condition(status, PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if not paused and reason == "DeploymentPaused":
        return with_condition(status, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return None


def _new_first(sets: Sequence[Object], new: Object | None) -> list[Object]:
    return ([new] if new is not None else []) + [each for each in sets if each is not new]
