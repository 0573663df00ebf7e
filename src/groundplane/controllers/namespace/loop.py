"""The namespace controller: deletes content wave by wave, tells what is left, removes the finalizer `kubernetes`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from groundplane.base.errors import GroundError
from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, is_deleting, name_of, namespace_of, replace_in, uid_of
from groundplane.client.resources import NAMESPACES, PODS, Resource
from groundplane.controllers.namespace import status as statuses
from groundplane.controllers.namespace.plan import order
from groundplane.controllers.namespace.status import Left
from groundplane.controllers.runner import Context, KeyedController

FINALIZER = "kubernetes"
AGAIN = 1.0  # seconds; upstream waits half the longest grace period of what is left; the end of a pod is told to us


class NamespaceController(KeyedController):
    """Keys are namespaces."""

    name = "namespace"
    account = "namespace-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        namespaces, pods = self.watch(NAMESPACES), self.watch(PODS)
        self._namespaces, self._pods = namespaces.cache, pods.cache
        namespaces.add_handler(Handler(add=self._changed, update=lambda _, new: self._changed(new)))
        pods.add_handler(Handler(delete=self._pod_gone))

    def _changed(self, namespace: Object) -> None:
        if is_deleting(namespace):
            self.enqueue(namespace)

    def _pod_gone(self, pod: Object) -> None:
        """The last pod of a namespace that is ending: its other content may go now."""
        namespace = self._namespaces.get(namespace_of(pod))
        if namespace is not None and is_deleting(namespace) and not self._pods.list(namespace_of(pod)):
            self.enqueue(namespace)

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.by_key(key)
        if namespace is None or not is_deleting(namespace) or FINALIZER not in _finalizers(namespace):
            return
        try:
            namespace = await self.client.namespaces.get(key[1])
        except ApiError as error:
            if error.is_not_found:
                return
            raise
        if not is_deleting(namespace) or FINALIZER not in _finalizers(namespace):
            return
        left = await self._empty(key[1])
        namespace = await self._tell(namespace, left)
        if left.is_empty:
            await self._finish(namespace)
        else:
            self.queue.add_after(key, AGAIN)

    async def _empty(self, namespace: str) -> Left:
        """Delete all content that may go now; what is left."""
        left = Left()
        try:
            resources = await self.context.discover()
        except GroundError as error:
            left.discovery_error = f"Discovery failed for some groups: {error}"
            resources = (PODS,)
        for wave in order(resources):
            await asyncio.gather(*(self._empty_one(each, namespace, left) for each in wave))
            if left.counts or left.errors:
                break
        return left

    async def _empty_one(self, resource: Resource, namespace: str, left: Left) -> None:
        verbs = self.client.of(resource)
        try:
            items, _ = await verbs.list_all(namespace)
            if not items:
                return
            try:
                await verbs.delete_collection(namespace, propagation="Background")
            except ApiError as error:
                if error.code not in (404, 405):  # no deletecollection: one by one
                    raise
                await self._one_by_one(resource, items)
            left.note(resource, (await verbs.list_all(namespace))[0])
        except ApiError as error:
            if error.code not in (404, 405):
                left.errors.append(f"{resource.group_resource}: {error}")

    async def _one_by_one(self, resource: Resource, items: Sequence[Object]) -> None:
        for item in items:
            try:
                await self.client.of(resource).delete(
                    name_of(item), namespace_of(item), uid=uid_of(item), propagation="Background"
                )
            except ApiError as error:
                if not error.is_not_found:
                    raise

    async def _tell(self, namespace: Object, left: Left) -> Object:
        old = (namespace.get("status") or {}).get("conditions") or []
        new = statuses.conditions(old, left, self.clock.time())
        if new == old:
            return namespace
        status = {**(namespace.get("status") or {}), "phase": "Terminating", "conditions": new}
        return await self.client.namespaces.update_status({**namespace, "status": status})

    async def _finish(self, namespace: Object) -> None:
        finalizers = [each for each in _finalizers(namespace) if each != FINALIZER]
        body = replace_in(namespace, ("spec", "finalizers"), finalizers or None)
        try:
            await self.client.namespaces.update(body, subresource="finalize")
        except ApiError as error:
            if not error.is_not_found:
                raise


def _finalizers(namespace: Object) -> list[str]:
    return (namespace.get("spec") or {}).get("finalizers") or []
