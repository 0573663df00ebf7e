"""The garbage collector: watches every resource that can be deleted, keeps the graph, deletes what it says.

Decisions rest on caches, so every write carries the uid and, for deletions, the resourceVersion that was decided upon
as a precondition; and an owner that the graph has not seen is asked for at the server before it counts as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from groundplane.base.log import Log
from groundplane.client.contract import MERGE_PATCH, STRATEGIC_PATCH, ApiError, Object
from groundplane.client.correlate import Recent
from groundplane.client.informer import Handler, Informer
from groundplane.client.objects import uid_of
from groundplane.client.resources import Resource
from groundplane.controllers.garbagecollector.graph import FOREGROUND, ORPHAN, Graph, Look, Node, Owners, judge
from groundplane.controllers.runner import Context, Controller

_log = Log("controllers.garbagecollector")

# garbagecollector.go DefaultIgnoredResources: events own nothing, are owned by nothing that matters, and are many.
IGNORED = {("", "events"), ("events.k8s.io", "events")}
_DEFINITIONS = {("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")}
REDISCOVER = "discover"


class GarbageCollector(Controller[Look]):
    """Keys are what the graph says is to be looked at, and REDISCOVER."""

    name = "garbagecollector"
    account = "generic-garbage-collector"
    workers = 20

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._graph = Graph()
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._watched: set[tuple[str, str]] = set()
        self._gone: Recent[bool] = Recent(500)  # uids of what was deleted, and references that led nowhere

    async def begin(self) -> None:
        """Watch everything; act once all of it is known, since an owner not seen yet looks like one that is gone."""
        for informer in await self._watch_all():
            await informer.synced()

    async def _watch_all(self) -> list[Informer]:
        added: list[Informer] = []
        for resource in await self.context.discover():
            # What has several versions is watched once, but may be named as an owner by any of them.
            self._by_kind.setdefault((resource.group, resource.kind), resource)
            word = (resource.group, resource.plural)
            if word in self._watched or word in IGNORED:
                continue
            self._watched.add(word)
            informer = self.context.informers.informer(resource)
            informer.add_handler(self._handler(resource))
            added.append(informer)
        return added

    def _handler(self, resource: Resource) -> Handler:
        def put(obj: Object) -> None:
            self._look_at(self._graph.put(resource, obj))

        def remove(obj: Object) -> None:
            self._gone.put(uid_of(obj), True)
            self._look_at(self._graph.remove(uid_of(obj)))

        if (resource.group, resource.plural) not in _DEFINITIONS:
            return Handler(add=put, update=lambda _, new: put(new), delete=remove)

        def changed(obj: Object) -> None:
            put(obj)
            self.queue.add_after((REDISCOVER, ""), 1.0)  # definitions come in bunches

        def removed(obj: Object) -> None:
            remove(obj)
            self.queue.add_after((REDISCOVER, ""), 1.0)

        return Handler(add=changed, update=lambda _, new: changed(new), delete=removed)

    def _look_at(self, looks: Iterable[Look]) -> None:
        for look in looks:
            self.queue.add(look)

    # -- what to do ---------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Look) -> None:
        what, uid = key
        if what == REDISCOVER:
            await self._watch_all()
            return
        node = self._graph.nodes.get(uid)
        if node is None or not node.seen or node.resource is None:
            return
        if what == "orphan":
            await self._orphan(node)
        else:
            await self._collect(node)

    async def _collect(self, node: Node) -> None:
        if node.waits_for_dependents:
            await self._continue_foreground(node)
            return
        if node.deleting or not node.owners:
            return
        owners = await self._classify(node)
        if not owners.gone and not owners.waiting:
            return
        verdict = judge(node, owners)
        if verdict.unblock:
            await self._unblock(node)
        if verdict.drop:
            await self._drop_references(node, verdict.drop)
        elif verdict.delete:
            await self._delete(node, verdict.delete)

    async def _continue_foreground(self, node: Node) -> None:
        blocking = node.blocking()
        if not blocking:
            await self._drop_finalizer(node, FOREGROUND)
            return
        for each in blocking:
            if not each.waits_for_dependents:
                self.queue.add(("delete", each.uid))

    async def _classify(self, node: Node) -> Owners:
        solid: list[Object] = []
        gone: list[Object] = []
        waiting: list[Object] = []
        for uid, reference in node.owners.items():
            owner = self._graph.nodes.get(uid)
            if owner is None or not owner.seen:
                (solid if await self._exists(node, reference) else gone).append(reference)
            elif owner.waits_for_dependents:
                waiting.append(reference)
            elif owner.resource is not None and owner.resource.namespaced and owner.key[0] != node.key[0]:
                # An owner in another namespace is none. What has no namespace cannot have an owner in one, and stays.
                (gone if node.key[0] else solid).append(reference)
            else:
                solid.append(reference)
        return Owners(solid, gone, waiting)

    async def _exists(self, node: Node, reference: Object) -> bool:
        """Ask the server for an owner that no informer has shown."""
        uid = reference["uid"]
        # A reference may name a wrong kind or name, so that it leads nowhere says nothing about others with its uid.
        where = (uid, reference["apiVersion"], reference["kind"], reference["name"], node.key[0])
        if self._gone.get(uid) or self._gone.get(where):
            return False
        group = reference["apiVersion"].rpartition("/")[0]
        resource = self._by_kind.get((group, reference["kind"]))
        if resource is None:
            raise ApiError(_unknown(reference))
        if resource.namespaced and not node.key[0]:
            _log.warning("a cluster-scoped object names a namespaced owner", uid=node.uid, owner=reference.get("name"))
            return True
        try:
            found = await self.client.of(resource).get(reference["name"], node.key[0] if resource.namespaced else "")
        except ApiError as error:
            if not error.is_not_found:
                raise
            found = {"metadata": {}}
        if uid_of(found) == uid:
            return True
        self._gone.put(where, True)
        return False

    async def _delete(self, node: Node, policy: str) -> None:
        assert node.resource is not None
        try:
            await self.client.of(node.resource).delete(
                node.key[1], node.key[0], uid=node.uid, resource_version=node.version, propagation=policy
            )
        except ApiError as error:
            if error.is_not_found:
                return
            raise

    async def _orphan(self, node: Node) -> None:
        """attemptToOrphan: all dependents lose the reference, then the owner may go."""
        await asyncio.gather(*(self._drop_references(each, [node.uid]) for each in node.dependents.values()))
        await self._drop_finalizer(node, ORPHAN)

    async def _drop_references(self, node: Node, uids: list[str]) -> None:
        references = [{"$patch": "delete", "uid": uid} for uid in uids]
        merged = [ref for uid, ref in node.owners.items() if uid not in uids]
        await self._patch_references(node, references, merged)

    async def _unblock(self, node: Node) -> None:
        references = [{**ref, "blockOwnerDeletion": False} for ref in node.owners.values()]
        await self._patch_references(node, references, references)

    async def _patch_references(self, node: Node, strategic: list[Object], merged: list[Object]) -> None:
        """A strategic patch where the server knows one for the kind; else a guarded merge patch of the whole list."""
        assert node.resource is not None
        verbs = self.client.of(node.resource)
        body = {"metadata": {"uid": node.uid, "ownerReferences": strategic}}
        try:
            try:
                await verbs.patch(node.key[1], body, node.key[0], type=STRATEGIC_PATCH)
            except ApiError as error:
                if error.code != 415:  # custom resources have no strategic merge
                    raise
                guarded = {"uid": node.uid, "resourceVersion": node.version, "ownerReferences": merged}
                await verbs.patch(node.key[1], {"metadata": guarded}, node.key[0], type=MERGE_PATCH)
        except ApiError as error:
            if not error.is_not_found:
                raise

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        assert node.resource is not None
        left = sorted(node.finalizers - {finalizer})
        meta = {"uid": node.uid, "resourceVersion": node.version, "finalizers": left}
        try:
            await self.client.of(node.resource).patch(node.key[1], {"metadata": meta}, node.key[0], type=MERGE_PATCH)
        except ApiError as error:
            if not error.is_not_found:
                raise


def _unknown(reference: Object) -> Object:
    message = f'no matches for kind "{reference["kind"]}" in version "{reference["apiVersion"]}"'
    return {"kind": "Status", "status": "Failure", "code": 404, "reason": "NoKindMatch", "message": message}
