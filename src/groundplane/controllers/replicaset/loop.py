"""The ReplicaSet controller: claims pods, creates or deletes the difference, writes the status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from groundplane.base.errors import GroundError
from groundplane.client.contract import ApiError, ConnectionLost, Object
from groundplane.client.events import NORMAL, WARNING
from groundplane.client.informer import Handler, owner_index
from groundplane.client.objects import (
    Key,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from groundplane.client.ownership import Claims, controller_of
from groundplane.client.resources import PODS, REPLICA_SETS, Resource
from groundplane.controllers.expectations import Expectations
from groundplane.controllers.pods import is_active, is_finished, pod_from_template
from groundplane.controllers.replicaset import plan as plans
from groundplane.controllers.replicaset import status as statuses
from groundplane.controllers.runner import Context, KeyedController, is_namespace_ending
from groundplane.kinds.selectors import LabelSelector, from_object


@dataclass(frozen=True, slots=True)
class _Failure:
    """What could not be written: for the status, and to be raised once the status is written."""

    reason: str
    error: GroundError


class ReplicaSetController(KeyedController):
    """Keys are ReplicaSets, or in a subclass what `resource` says."""

    name = "replicaset"
    account = "replicaset-controller"
    resource: ClassVar[Resource] = REPLICA_SETS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._owners = self.watch(self.resource).cache
        self._pods = self.watch(PODS).cache
        self._pods.add_index("owner", owner_index)
        self._pods.add_index("orphans", _orphan_index)
        self._owners.add_index("owner", owner_index)
        self._expected = Expectations(self.watch(PODS), self.queue.add)
        self._claims = Claims(self.client.of(self.resource), self.client.pods)
        self._verbs = self.client.of(self.resource)
        self.watch(self.resource).add_handler(
            Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new), delete=self._owner_gone)
        )
        self.watch(PODS).add_handler(Handler(add=self._pod_came, update=self._pod_changed, delete=self._pod_gone))

    def selector_of(self, owner: Object) -> LabelSelector:
        return from_object((owner.get("spec") or {}).get("selector"))

    # -- what changed -------------------------------------------------------------------------------------------------

    def _owner_gone(self, owner: Object) -> None:
        self._expected.forget(key_of(owner))
        self.enqueue(owner)

    def _pod_came(self, pod: Object) -> None:
        if is_deleting(pod):  # after a restart a pod may first be seen while it ends
            self._pod_gone(pod)
        elif (owner := self._owner_of(pod)) is not None:
            self.enqueue(owner)
        elif controller_of(pod) is None:
            self._enqueue_matching(pod)

    def _pod_changed(self, old: Object, new: Object) -> None:
        owner = self._owner_of(new)
        if is_deleting(new):
            self._pod_gone(new)
            return
        if controller_of(old) != controller_of(new) and (former := self._owner_of(old)) is not None:
            self.enqueue(former)
        if owner is not None:
            self.enqueue(owner)
        elif controller_of(new) is None and (
            labels_of(old) != labels_of(new) or controller_of(old) != controller_of(new)
        ):
            self._enqueue_matching(new)

    def _pod_gone(self, pod: Object) -> None:
        if (owner := self._owner_of(pod)) is not None:
            self.enqueue(owner)

    def _owner_of(self, pod: Object) -> Object | None:
        reference = controller_of(pod)
        if reference is None or reference.get("kind") != self.resource.kind:
            return None
        owner = self._owners.get(reference["name"], namespace_of(pod))
        return owner if owner is not None and uid_of(owner) == reference["uid"] else None

    def _enqueue_matching(self, pod: Object) -> None:
        """An orphan: every set that it matches may adopt it."""
        for owner in self._owners.list(namespace_of(pod)):
            if self.selector_of(owner).matches(labels_of(pod)):
                self.enqueue(owner)

    # -- what to do ---------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> None:
        owner = self._owners.by_key(key)
        if owner is None:
            self._expected.forget(key)
            return
        may_act = self._expected.are_met(key)
        candidates = self._pods.by_index("owner", uid_of(owner)) + self._pods.by_index("orphans", key[0])
        claimed = await self._claim(owner, [pod for pod in candidates if not is_finished(pod)])
        active = [pod for pod in claimed if is_active(pod)]
        terminating = [pod for pod in claimed if is_deleting(pod)]
        failure = None
        if may_act and not is_deleting(owner):
            failure = await self._adjust(key, owner, active)
        now = self.clock.time()
        words = (failure.reason, str(failure.error)) if failure else None
        await self._write_status(owner, statuses.status(owner, active, terminating, words, now))
        if failure:
            raise failure.error
        if (wait := statuses.next_check(owner, active, now)) is not None:
            self.queue.add_after(key, wait)

    async def _claim(self, owner: Object, candidates: list[Object]) -> list[Object]:
        selector = self.selector_of(owner)
        return await self._claims.claim(owner, lambda pod: selector.matches(labels_of(pod)), candidates)

    async def _adjust(self, key: Key, owner: Object, active: list[Object]) -> _Failure | None:
        spec = owner.get("spec") or {}
        replicas = spec.get("replicas")
        wanted = plans.plan(1 if replicas is None else int(replicas), active, self._related(owner), self.clock.time())
        if wanted.create:
            return await self._create(key, owner, wanted.create)
        if wanted.delete:
            return await self._delete(key, owner, wanted.delete)
        return None

    def _related(self, owner: Object) -> list[Object]:
        """Pods of every set that has the same controller (a Deployment's old and new sets), or of this set alone."""
        reference = controller_of(owner)
        sets = self._owners.by_index("owner", reference["uid"]) if reference else [owner]
        return [pod for each in sets for pod in self._pods.by_index("owner", uid_of(each))]

    async def _create(self, key: Key, owner: Object, count: int) -> _Failure | None:
        body = pod_from_template(owner["spec"]["template"], owner, owner_reference(owner, self.resource))
        for size in plans.batches(count):
            results = await asyncio.gather(*(self._create_one(key, owner, body) for _ in range(size)))
            errors = [error for error in results if error is not None]
            if not errors:
                continue
            # A namespace that is ending refuses every creation, and takes this set with it: nothing to say or repeat.
            return None if is_namespace_ending(errors[0]) else _Failure("FailedCreate", errors[0])
        return None

    async def _create_one(self, key: Key, owner: Object, body: Object) -> GroundError | None:
        try:
            pod = await self.client.pods.create(body, namespace_of(owner))
        except (ApiError, ConnectionLost) as error:
            if not is_namespace_ending(error):
                self.tell(owner, self.resource, WARNING, "FailedCreate", f"Error creating: {error}")
            return error
        self._expected.wrote(key, pod)
        self.tell(owner, self.resource, NORMAL, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        return None

    async def _delete(self, key: Key, owner: Object, pods: list[Object]) -> _Failure | None:
        results = await asyncio.gather(*(self._delete_one(key, owner, pod) for pod in pods))
        errors = [error for error in results if error is not None]
        return _Failure("FailedDelete", errors[0]) if errors else None

    async def _delete_one(self, key: Key, owner: Object, pod: Object) -> GroundError | None:
        try:
            await self.client.pods.delete(name_of(pod), namespace_of(pod))
        except (ApiError, ConnectionLost) as error:
            if isinstance(error, ApiError) and error.is_not_found:
                return None
            self.tell(owner, self.resource, WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        self._expected.deleted(key, pod)
        self.tell(owner, self.resource, NORMAL, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        return None

    async def _write_status(self, owner: Object, new: Object) -> None:
        if new == (owner.get("status") or {}):
            return
        await self._verbs.update_status({**owner, "status": new})


def _orphan_index(pod: Object) -> Iterable[str]:
    """Pods that nobody controls, by namespace: candidates for adoption."""
    if controller_of(pod) is None:
        yield namespace_of(pod)
