"""The bookkeeping in annotations. Pure. pkg/controller/deployment/util/deployment_util.go.

deployment.kubernetes.io/revision            on set and deployment: the number `kubectl rollout history` shows
deployment.kubernetes.io/revision-history    on a set: the numbers it had before, when it was rolled back to
deployment.kubernetes.io/desired-replicas    on a set: the deployment's size when the set was scaled last; a
                                             difference from the deployment's size is a scaling, not a rollout
deployment.kubernetes.io/max-replicas        on a set: that size with the surge, base of proportional scaling
"""

from __future__ import annotations

from collections.abc import Iterable

from groundplane.client.contract import Object
from groundplane.client.objects import annotations_of

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
}
_HISTORY_LIMIT = 2000  # characters


def revision_of(obj: Object) -> int:
    return number(obj, REVISION) or 0


def number(obj: Object, name: str) -> int | None:
    """An annotation's whole number, None where it is missing or none."""
    text = annotations_of(obj).get(name, "")
    try:
        return int(text)
    except ValueError:
        return None


def next_revision(old_sets: Iterable[Object]) -> int:
    return max((revision_of(each) for each in old_sets), default=0) + 1


def for_new_set(deployment: Object, new_set: Object, revision: int) -> dict[str, str]:
    """All annotations the newest set should have: the deployment's own, and the revision it has become."""
    result = dict(annotations_of(new_set))
    result |= {k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED}
    old = result.get(REVISION)
    if revision_of(new_set) < revision:
        result[REVISION] = str(revision)
        if old is not None:
            result[HISTORY] = _history(result.get(HISTORY, ""), old)
    return result


def sized(annotations: dict[str, str], desired: int, maximum: int) -> dict[str, str]:
    return {**annotations, DESIRED: str(desired), MAXIMUM: str(maximum)}


def _history(known: str, old: str) -> str:
    words = [*known.split(","), old] if known else [old]
    while len(words) > 1 and len(",".join(words)) > _HISTORY_LIMIT:
        words.pop(0)
    return ",".join(words)
