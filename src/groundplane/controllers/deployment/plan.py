"""What to do to a Deployment's ReplicaSets now. Pure.

pkg/controller/deployment: deployment_controller.go `syncDeployment`, sync.go, rolling.go, recreate.go. One pass does
one of these, in upstream's order of precedence:

    being deleted         nothing but the status
    paused                follow a change of size, forget old sets, start nothing
    size changed          give the change to the sets that carry the pods
    Recreate              old sets to 0; once their pods are gone, the new set at full size
    RollingUpdate         the new set as large as surge allows; if that changed nothing, old sets as small as
                          availability allows, sets with broken pods first
    complete              forget old sets beyond revisionHistoryLimit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from groundplane.client.contract import Object
from groundplane.client.objects import annotations_of, is_deleting, name_of, namespace_of, owner_reference, replace_in
from groundplane.client.resources import DEPLOYMENTS
from groundplane.controllers.deployment import annotations as notes
from groundplane.controllers.deployment import sizes
from groundplane.controllers.deployment.sizes import replicas_of, status_count, total
from groundplane.controllers.deployment.status import is_complete
from groundplane.controllers.deployment.template import HASH_LABEL, by_age, find_new, template_hash

NO_LIMIT = 2**31 - 1  # a limit or deadline of MaxInt32 means none


@dataclass(frozen=True, slots=True)
class SetChange:
    """A set to write as `new`; `event` is told once it is written, if there is something to tell."""

    new: Object
    event: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`create` comes first, then `change` in order, then `delete`. `revision` is what the deployment shows after it."""

    create: Object | None = None
    change: list[SetChange] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    revision: int | None = None
    new_name: str = ""  # the name of the set with the deployment's template, existing or to be created


def plan(deployment: Object, sets: Sequence[Object], *, old_pods_run: bool) -> Plan:
    """`old_pods_run`: a pod of another set than the new one is there and has not finished (matters to Recreate)."""
    draft = _Draft(deployment, sets)
    if is_deleting(deployment):
        return draft.plan()
    paused = bool(deployment["spec"].get("paused"))
    resized = _is_resized(deployment, sets)
    draft.annotate_new()
    if paused or resized:
        draft.resize()
        if paused:
            draft.forget_old()
    elif sizes.is_rolling(deployment):
        draft.ensure_new()
        if not draft.grow_new() and not draft.shrink_old() and is_complete(deployment, deployment.get("status") or {}):
            draft.forget_old()
    else:
        draft.recreate(old_pods_run=old_pods_run)
    return draft.plan()


def _is_resized(deployment: Object, sets: Sequence[Object]) -> bool:
    wanted = replicas_of(deployment)
    desired = (notes.number(each, notes.DESIRED) for each in sets if replicas_of(each) > 0)
    return any(each is not None and each != wanted for each in desired)


class _Draft:
    """The sets as they will be, and what was changed on the way there."""

    def __init__(self, deployment: Object, sets: Sequence[Object]) -> None:
        self._deployment = deployment
        self._wanted = replicas_of(deployment)
        self._maximum = self._wanted + sizes.max_surge(deployment)
        self._sets = {name_of(each): each for each in sets}
        new = find_new(deployment, sets)
        self._new = name_of(new) if new is not None else ""
        self._revision = notes.next_revision(self._old()) if new is not None else None
        self._create = False
        self._events: dict[str, str] = {}
        self._original = dict(self._sets)
        self._delete: list[Object] = []

    def plan(self) -> Plan:
        changed = [
            SetChange(each, self._events.get(name, ""))
            for name, each in self._sets.items()
            if each is not self._original.get(name) and not (self._create and name == self._new)
        ]
        create = self._sets[self._new] if self._create else None
        return Plan(create, changed, self._delete, self._shown_revision(), self._new)

    def _shown_revision(self) -> int | None:
        return notes.revision_of(self._sets[self._new]) if self._new and self._revision is not None else None

    def _all(self) -> list[Object]:
        return list(self._sets.values())

    def _old(self) -> list[Object]:
        return sorted((each for name, each in self._sets.items() if name != self._new), key=by_age)

    def _put(self, each: Object) -> None:
        self._sets[name_of(each)] = each

    def annotate_new(self) -> None:
        """The new set carries the deployment's annotations, the newest revision and minReadySeconds."""
        if not self._new or self._revision is None:
            return
        new = self._sets[self._new]
        wanted = notes.for_new_set(self._deployment, new, self._revision)
        if wanted != annotations_of(new):
            new = replace_in(new, ("metadata", "annotations"), wanted)
        ready = int(self._deployment["spec"].get("minReadySeconds") or 0)
        if int(new["spec"].get("minReadySeconds") or 0) != ready:
            new = replace_in(new, ("spec", "minReadySeconds"), ready or None)
        self._put(new)

    def ensure_new(self) -> None:
        """Plan the creation of the set with this template, at the size that it may have at once."""
        if self._new:
            return
        self._revision = notes.next_revision(self._old())
        new = new_set(self._deployment)
        size = sizes.new_set_size(self._deployment, self._all(), 0)
        annotations = notes.for_new_set(self._deployment, new, self._revision)
        new = replace_in(new, ("metadata", "annotations"), notes.sized(annotations, self._wanted, self._maximum))
        new = replace_in(new, ("spec", "replicas"), size)
        self._new, self._create = name_of(new), True
        self._put(new)

    def grow_new(self) -> bool:
        new = self._sets[self._new]
        if replicas_of(new) == self._wanted:
            return False
        if replicas_of(new) > self._wanted:
            return self._scale(new, self._wanted)
        return self._scale(new, sizes.new_set_size(self._deployment, self._all(), replicas_of(new)))

    def shrink_old(self) -> bool:
        """rolling.go reconcileOldReplicaSets: as many old pods as new ones that are available make up for."""
        old = [each for each in self._old() if replicas_of(each) > 0]
        if not old:
            return False
        new = self._sets[self._new]
        least = self._wanted - sizes.max_unavailable(self._deployment)
        unavailable = replicas_of(new) - status_count([new], "availableReplicas")
        room = total(self._all()) - least - unavailable
        if room <= 0:
            return False
        cleaned = self._drop_broken(old, room)
        spare = status_count(self._all(), "availableReplicas") - least
        return self._drop_spare(spare) or cleaned

    def _drop_broken(self, old: Sequence[Object], room: int) -> bool:
        """Pods that are not available serve nobody: they go first."""
        dropped = 0
        for each in old:
            broken = replicas_of(each) - status_count([each], "availableReplicas")
            count = min(room - dropped, broken)
            if count > 0:
                self._scale(each, replicas_of(each) - count)
                dropped += count
        return dropped > 0

    def _drop_spare(self, spare: int) -> bool:
        dropped = 0
        for each in self._old():
            count = min(replicas_of(each), spare - dropped)
            if count > 0:
                self._scale(each, replicas_of(each) - count)
                dropped += count
        return dropped > 0

    def recreate(self, *, old_pods_run: bool) -> None:
        active = [each for each in self._old() if replicas_of(each) > 0]
        for each in active:
            self._scale(each, 0)
        if active or old_pods_run or status_count(self._old(), "replicas"):
            return
        self.ensure_new()
        self._scale(self._sets[self._new], self._wanted)
        if is_complete(self._deployment, self._deployment.get("status") or {}):
            self.forget_old()

    def resize(self) -> None:
        """sync.go scale: one set carries all pods, or the rollout is done, or several share the change."""
        if (only := self._only_active()) is not None:
            if replicas_of(only) != self._wanted:
                self._scale(only, self._wanted)
            return
        new = self._sets.get(self._new)
        if sizes.is_saturated(self._deployment, new):
            for each in self._old():
                if replicas_of(each) > 0:
                    self._scale(each, 0)
        elif sizes.is_rolling(self._deployment):
            active = [each for each in self._all() if replicas_of(each) > 0]
            for name, size in sizes.proportional(self._deployment, active).items():
                self._scale(self._sets[name], size)

    def _only_active(self) -> Object | None:
        active = [each for each in self._all() if replicas_of(each) > 0]
        if len(active) == 1:
            return active[0]
        if active or not self._sets:
            return None
        return self._sets[self._new] if self._new else self._old()[-1]

    def forget_old(self) -> None:
        """sync.go cleanupDeployment: old sets beyond the limit, lowest revision first, if nothing of them is left."""
        limit = self._deployment["spec"].get("revisionHistoryLimit")
        if limit is None or limit == NO_LIMIT:
            return
        old = sorted((each for each in self._old() if not is_deleting(each)), key=notes.revision_of)
        self._delete = [each for each in old[: max(len(old) - limit, 0)] if _is_spent(each)]

    def _scale(self, each: Object, size: int) -> bool:
        """Set size and bookkeeping; whether the size changed."""
        before = replicas_of(each)
        wanted = notes.sized(dict(annotations_of(each)), self._wanted, self._maximum)
        changed = replace_in(each, ("metadata", "annotations"), wanted)
        changed = replace_in(changed, ("spec", "replicas"), size)
        if changed == each:
            return False
        self._put(changed)
        if size == before:
            return False
        word = "up" if size > before else "down"
        first = self._original.get(name_of(each), each)
        self._events[name_of(each)] = f"Scaled {word} replica set {name_of(each)} from {replicas_of(first)} to {size}"
        return True


def new_set(deployment: Object) -> Object:
    """The set for the deployment's template, of size 0 and without bookkeeping."""
    spec = deployment["spec"]
    template = spec["template"]
    digest = template_hash(template, (deployment.get("status") or {}).get("collisionCount"))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    selector = spec["selector"]
    matched = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    made: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": labels,
            "ownerReferences": [owner_reference(deployment, DEPLOYMENTS)],
        },
        "spec": {
            "replicas": 0,
            "selector": {**selector, "matchLabels": matched},
            "template": replace_in(template, ("metadata", "labels"), labels),
        },
    }
    if ready := spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = ready
    return made


def _is_spent(each: Object) -> bool:
    """Nothing runs of it, and its controller has seen that nothing should."""
    seen = int((each.get("status") or {}).get("observedGeneration") or 0)
    return (
        replicas_of(each) == 0
        and status_count([each], "replicas") == 0
        and seen >= int(each["metadata"].get("generation") or 0)
    )
