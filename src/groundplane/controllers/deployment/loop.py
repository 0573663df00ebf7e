"""The Deployment controller: claims ReplicaSets, carries the plan out, writes the status."""

from __future__ import annotations

from groundplane.client.contract import ApiError, Object
from groundplane.client.events import NORMAL, WARNING
from groundplane.client.informer import Handler, owner_index
from groundplane.client.objects import (
    Key,
    annotations_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    replace_in,
    uid_of,
    with_annotations,
)
from groundplane.client.ownership import Claims, controller_of, is_controlled_by
from groundplane.client.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from groundplane.controllers.deployment import plan as plans
from groundplane.controllers.deployment import sizes, template
from groundplane.controllers.deployment import status as statuses
from groundplane.controllers.deployment.annotations import REVISION
from groundplane.controllers.deployment.status import PROGRESSING, condition_in, with_condition
from groundplane.controllers.pods import is_finished
from groundplane.controllers.runner import Context, KeyedController, is_namespace_ending
from groundplane.kinds.selectors import from_object


class DeploymentController(KeyedController):
    """Keys are Deployments."""

    name = "deployment"
    account = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        deployments, sets, pods = self.watch(DEPLOYMENTS), self.watch(REPLICA_SETS), self.watch(PODS)
        self._deployments, self._sets, self._pods = deployments.cache, sets.cache, pods.cache
        self._sets.add_index("owner", owner_index)
        self._pods.add_index("owner", owner_index)
        self._verbs = self.client.deployments
        self._claims = Claims(self.client.deployments, self.client.replica_sets)
        deployments.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new), delete=self.enqueue))
        sets.add_handler(Handler(add=self._set_came, update=self._set_changed, delete=self._set_came))
        pods.add_handler(Handler(delete=self._pod_gone))

    # -- what changed -------------------------------------------------------------------------------------------------

    def _set_came(self, each: Object) -> None:
        if (owner := self._owner_of(each)) is not None:
            self.enqueue(owner)
        elif controller_of(each) is None:
            self._enqueue_matching(each)

    def _set_changed(self, old: Object, new: Object) -> None:
        if controller_of(old) != controller_of(new) and (former := self._owner_of(old)) is not None:
            self.enqueue(former)
        if (owner := self._owner_of(new)) is not None:
            self.enqueue(owner)
        elif controller_of(new) is None and (labels_of(old) != labels_of(new) or controller_of(old) is not None):
            self._enqueue_matching(new)

    def _pod_gone(self, pod: Object) -> None:
        """Recreate waits for the last old pod; the sets' counts do not show pods that are only ending."""
        reference = controller_of(pod)
        if reference is None or reference.get("kind") != "ReplicaSet":
            return
        each = self._sets.get(reference["name"], namespace_of(pod))
        owner = self._owner_of(each) if each is not None else None
        if owner is not None and not sizes.is_rolling(owner):
            self.enqueue(owner)

    def _owner_of(self, each: Object) -> Object | None:
        reference = controller_of(each)
        if reference is None or reference.get("kind") != "Deployment":
            return None
        owner = self._deployments.get(reference["name"], namespace_of(each))
        return owner if owner is not None and uid_of(owner) == reference["uid"] else None

    def _enqueue_matching(self, each: Object) -> None:
        for owner in self._deployments.list(namespace_of(each)):
            if from_object(owner["spec"].get("selector")).matches(labels_of(each)):
                self.enqueue(owner)

    # -- what to do ---------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> None:
        deployment = self._deployments.by_key(key)
        if deployment is None:
            return
        if deployment["spec"].get("selector") in ({}, None):
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self.tell(deployment, DEPLOYMENTS, WARNING, "SelectingAll", message)
            return
        stored = deployment
        now = self.clock.time()
        sets = await self._claim(deployment)
        if not is_deleting(deployment) and (paused := statuses.paused_condition(deployment, now)) is not None:
            deployment = {**deployment, "status": paused}
        plan = plans.plan(deployment, sets, old_pods_run=self._old_pods_run(deployment, sets))
        deployment, sets = await self._carry_out(deployment, sets, plan)
        await self._write_status(key, stored, deployment, sets, plan)

    async def _claim(self, deployment: Object) -> list[Object]:
        selector = from_object(deployment["spec"]["selector"])
        candidates = self._sets.list(namespace_of(deployment))
        return await self._claims.claim(deployment, lambda each: selector.matches(labels_of(each)), candidates)

    def _old_pods_run(self, deployment: Object, sets: list[Object]) -> bool:
        if sizes.is_rolling(deployment):
            return False
        new = template.find_new(deployment, sets)
        old = [each for each in sets if each is not new]
        return any(not is_finished(pod) for each in old for pod in self._pods.by_index("owner", uid_of(each)))

    async def _carry_out(self, deployment: Object, sets: list[Object], plan: plans.Plan) -> tuple[Object, list[Object]]:
        """Write the sets; the deployment with revision and progress as they are to be shown, and the sets."""
        by_name = {name_of(each): each for each in sets}
        now = self.clock.time()
        status = deployment.get("status") or {}
        if plan.create is not None:
            created, fresh = await self._create(deployment, plan.create)
            by_name[name_of(created)] = created
            if fresh and statuses.deadline_of(deployment) is not None:
                message = f'Created new replica set "{name_of(created)}"'
                status = with_condition(status, PROGRESSING, "True", "NewReplicaSetCreated", message, now)
        elif plan.revision is not None and _wants_progress(deployment):
            message = f'Found new replica set "{plan.new_name}"'
            status = with_condition(status, PROGRESSING, "True", "FoundNewReplicaSet", message, now)
        for change in plan.change:
            by_name[name_of(change.new)] = await self.client.replica_sets.update(change.new)
            if change.event:
                self.tell(deployment, DEPLOYMENTS, NORMAL, "ScalingReplicaSet", change.event)
        for each in plan.delete:
            await self._forget(each)
            by_name.pop(name_of(each), None)
        if plan.revision is not None and annotations_of(deployment).get(REVISION) != str(plan.revision):
            deployment = with_annotations(deployment, {REVISION: str(plan.revision)})
        return {**deployment, "status": status}, list(by_name.values())

    async def _create(self, deployment: Object, body: Object) -> tuple[Object, bool]:
        """The new set and whether it was made now; a cache that lags may have hidden it."""
        try:
            created = await self.client.replica_sets.create(body)
        except ApiError as error:
            if error.is_already_exists:
                return await self._taken(deployment, body, error), False
            if not is_namespace_ending(error):
                await self._creation_failed(deployment, body, error)
            raise
        if size := sizes.replicas_of(created):
            message = f"Scaled up replica set {name_of(created)} from 0 to {size}"
            self.tell(deployment, DEPLOYMENTS, NORMAL, "ScalingReplicaSet", message)
        return created, True

    async def _taken(self, deployment: Object, body: Object, error: ApiError) -> Object:
        """The name is taken: by our own set, or by another template of the same hash, which the count changes."""
        found = await self.client.replica_sets.get(name_of(body), namespace_of(body))
        ours = is_controlled_by(found, deployment)
        if ours and template.same_template(found["spec"]["template"], deployment["spec"]["template"]):
            return found
        collisions = int((deployment.get("status") or {}).get("collisionCount") or 0) + 1
        await self._verbs.update_status(replace_in(deployment, ("status", "collisionCount"), collisions))
        raise error

    async def _creation_failed(self, deployment: Object, body: Object, error: ApiError) -> None:
        message = f'Failed to create new replica set "{name_of(body)}": {error}'
        self.tell(deployment, DEPLOYMENTS, WARNING, "ReplicaSetCreateError", message)
        if statuses.deadline_of(deployment) is None:
            return
        status = deployment.get("status") or {}
        failed = with_condition(status, PROGRESSING, "False", "ReplicaSetCreateError", message, self.clock.time())
        if failed != status:
            await self._verbs.update_status({**deployment, "status": failed})

    async def _forget(self, each: Object) -> None:
        try:
            await self.client.replica_sets.delete(name_of(each), namespace_of(each), uid=uid_of(each))
        except ApiError as error:
            if not error.is_not_found:
                raise

    async def _write_status(
        self, key: Key, stored: Object, deployment: Object, sets: list[Object], plan: plans.Plan
    ) -> None:
        now = self.clock.time()
        new_set = next((each for each in sets if name_of(each) == plan.new_name), None)
        rolls = not is_deleting(deployment) and not deployment["spec"].get("paused")
        calculate = statuses.rollout if rolls else statuses.counts
        status = calculate(deployment, sets, new_set, now)
        same_notes = annotations_of(deployment) == annotations_of(stored)
        if status == (stored.get("status") or {}) and same_notes:
            if rolls and (wait := statuses.next_check(deployment, status, now)) is not None:
                self.queue.add_after(key, wait)
            return
        # The revision travels with the status, as upstream's does: a status update may change annotations.
        await self._verbs.update_status({**deployment, "status": status})


def _wants_progress(deployment: Object) -> bool:
    """It has a deadline, and nothing was said about its progress yet."""
    status = deployment.get("status") or {}
    return statuses.deadline_of(deployment) is not None and condition_in(status, PROGRESSING) is None
