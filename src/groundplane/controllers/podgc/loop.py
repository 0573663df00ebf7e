"""The pod garbage collector."""

from __future__ import annotations

from collections.abc import Awaitable

from groundplane.base.clock import rfc3339
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, Object
from groundplane.client.informer import Handler
from groundplane.client.objects import name_of, namespace_of, uid_of
from groundplane.client.resources import NODES, PODS
from groundplane.controllers.podgc.plan import THRESHOLD, surplus
from groundplane.controllers.pods import is_finished, node_index
from groundplane.controllers.runner import Context, Controller

QUARANTINE = 40.0  # gc_controller.go: a node that comes back within 40 s keeps its pods


class PodGarbageCollector(Controller[str]):
    """Keys are names of nodes that are gone, and "" for the finished pods."""

    name = "podgc"
    account = "pod-garbage-collector"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        pods, nodes = self.watch(PODS), self.watch(NODES)
        self._pods, self._nodes = pods.cache, nodes.cache
        self._pods.add_index("node", node_index)
        self._finished: set[str] = set()  # uids
        pods.add_handler(
            Handler(add=self._pod_changed, update=lambda _, new: self._pod_changed(new), delete=self._pod_gone)
        )
        nodes.add_handler(Handler(delete=lambda node: self.queue.add_after(name_of(node), QUARANTINE)))

    async def begin(self) -> None:
        for node in {each for pod in self._pods for each in node_index(pod)}:
            if self._nodes.get(node) is None:
                self.queue.add_after(node, QUARANTINE)

    def _pod_changed(self, pod: Object) -> None:
        if is_finished(pod):
            self._finished.add(uid_of(pod))
            if len(self._finished) > THRESHOLD:
                self.queue.add("")
        for node in node_index(pod):
            if all(informer.is_synced for informer in self.informers) and self._nodes.get(node) is None:
                self.queue.add_after(node, QUARANTINE)

    def _pod_gone(self, pod: Object) -> None:
        self._finished.discard(uid_of(pod))

    async def reconcile(self, key: str) -> None:
        if not key:
            for pod in surplus([pod for pod in self._pods if is_finished(pod)]):
                await self._remove(pod)
            return
        if self._nodes.get(key) is not None or await self._exists(key):
            return
        for pod in self._pods.by_index("node", key):
            if not is_finished(pod):
                await self._mark(pod)
            await self._remove(pod)

    async def _exists(self, node: str) -> bool:
        """Asked of the server: a cache that lags must not cost a node its pods."""
        try:
            await self.client.nodes.get(node)
        except ApiError as error:
            if error.is_not_found:
                return False
            raise
        return True

    async def _mark(self, pod: Object) -> None:
        """KEP-3329: a pod that ends without its node says why, so that a Job can tell this from a failure."""
        condition: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": rfc3339(self.clock.time()),
        }
        body = {"metadata": {"uid": uid_of(pod)}, "status": {"phase": "Failed", "conditions": [condition]}}
        await _unless_gone(
            self.client.pods.patch(name_of(pod), body, namespace_of(pod), type=STRATEGIC_PATCH, subresource="status")
        )

    async def _remove(self, pod: Object) -> None:
        await _unless_gone(self.client.pods.delete(name_of(pod), namespace_of(pod), uid=uid_of(pod), grace_period=0))


async def _unless_gone(work: Awaitable[Object]) -> None:
    try:
        await work
    except ApiError as error:
        if error.code not in (404, 409):
            raise
