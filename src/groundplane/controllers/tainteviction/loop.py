"""The taint eviction controller."""

from __future__ import annotations

from groundplane.base.clock import rfc3339
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, Object
from groundplane.client.events import NORMAL
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, is_deleting, name_of, uid_of
from groundplane.client.resources import NODES, PODS
from groundplane.controllers.pods import node_index
from groundplane.controllers.runner import Context, KeyedController
from groundplane.controllers.tainteviction.plan import FOREVER, patience


class TaintEvictionController(KeyedController):
    """Keys are pods."""

    name = "tainteviction"
    account = "node-controller"
    component = "taint-eviction-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        nodes, pods = self.watch(NODES), self.watch(PODS)
        self._nodes, self._pods = nodes.cache, pods.cache
        self._pods.add_index("node", node_index)
        self._since: dict[Key, float] = {}  # the pods that are to go, and when their patience began
        nodes.add_handler(Handler(add=self._node_came, update=self._node_changed))
        pods.add_handler(
            Handler(add=self._pod_changed, update=lambda _, new: self._pod_changed(new), delete=self._pod_gone)
        )

    def _node_came(self, node: Object) -> None:
        if _taints(node):
            self._all_of(node)

    def _node_changed(self, old: Object, new: Object) -> None:
        if _taints(old) != _taints(new):
            self._all_of(new)

    def _all_of(self, node: Object) -> None:
        for pod in self._pods.by_index("node", name_of(node)):
            self.enqueue(pod)

    def _pod_changed(self, pod: Object) -> None:
        for name in node_index(pod):
            node = self._nodes.get(name)
            if node is not None and _taints(node):
                self.enqueue(pod)

    def _pod_gone(self, pod: Object) -> None:
        self._since.pop((pod["metadata"]["namespace"], name_of(pod)), None)

    async def reconcile(self, key: Key) -> None:
        pod = self._pods.by_key(key)
        if pod is None or is_deleting(pod):
            return
        node = next((self._nodes.get(name) for name in node_index(pod)), None)
        bears = patience(pod, _taints(node))
        if bears == FOREVER:
            if self._since.pop(key, None) is not None:
                message = f"Cancelling deletion of Pod {key[0]}/{key[1]}"
                self.tell(pod, PODS, NORMAL, "TaintManagerEviction", message)
            return
        # Patience begins when this loop first sees the pod together with a taint, not when the taint was made: most
        # taints do not say when that was, and a pod may be younger than the taint that it bears.
        now = self.clock.time()
        left = self._since.setdefault(key, now) + bears - now
        if left > 0:
            self.queue.add_after(key, left)
            return
        self.tell(pod, PODS, NORMAL, "TaintManagerEviction", f"Marking for deletion Pod {key[0]}/{key[1]}")
        await self._evict(key, pod)

    async def _evict(self, key: Key, pod: Object) -> None:
        condition: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": rfc3339(self.clock.time()),
        }
        body = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
        try:
            await self.client.pods.patch(key[1], body, key[0], type=STRATEGIC_PATCH, subresource="status")
            await self.client.pods.delete(key[1], key[0], uid=uid_of(pod))
        except ApiError as error:
            if not error.is_not_found:
                raise


def _taints(node: Object | None) -> list[Object]:
    spec = (node or {}).get("spec") or {}
    return [each for each in spec.get("taints") or () if each.get("effect") == "NoExecute"]
