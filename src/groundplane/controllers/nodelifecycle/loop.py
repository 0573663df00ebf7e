"""The node lifecycle controller.

A node is silent when neither its Lease nor the heartbeats of its Ready condition have changed for the grace period,
measured on our own clock from when we saw the change. One timer per node, at its next possible deadline: a renewed
lease only moves a number. When every node is silent or not ready, the fault may be ours: then nobody is evicted.
"""

from __future__ import annotations

import asyncio

from groundplane.base.clock import rfc3339
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, Object
from groundplane.client.events import NORMAL, WARNING
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, condition_of, is_deleting, name_of, namespace_of, replace_in
from groundplane.client.resources import LEASES, NODES, PODS
from groundplane.controllers.nodelifecycle import plan as plans
from groundplane.controllers.nodelifecycle.status import silent
from groundplane.controllers.pods import is_ready, node_index
from groundplane.controllers.runner import Context, KeyedController

GRACE = 50.0  # --node-monitor-grace-period since 1.32
STARTUP_GRACE = 60.0  # --node-startup-grace-period: a new node may take longer
LEASE_NAMESPACE = "kube-node-lease"


class NodeLifecycleController(KeyedController):
    """Keys are nodes."""

    name = "nodelifecycle"
    account = "node-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        nodes, leases, pods = self.watch(NODES), self.watch(LEASES), self.watch(PODS)
        self._nodes, self._pods = nodes.cache, pods.cache
        self._pods.add_index("node", node_index)
        self._heard: dict[str, float] = {}  # when a node last gave a sign, on our monotonic clock
        nodes.add_handler(Handler(add=self._came, update=self._changed, delete=self._gone))
        leases.add_handler(Handler(add=self._renewed, update=lambda _, new: self._renewed(new)))

    def _came(self, node: Object) -> None:
        name = name_of(node)
        self._heard[name] = self.clock.monotonic()
        self.tell(node, NODES, NORMAL, "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller")
        self.enqueue(node)

    def _changed(self, old: Object, new: Object) -> None:
        if _heartbeat(old) != _heartbeat(new) and plans.ready_status(new) != "Unknown":
            self._heard[name_of(new)] = self.clock.monotonic()
        if plans.ready_status(old) != plans.ready_status(new):
            for node in self._nodes:  # whether anybody may be evicted depends on all
                self.enqueue(node)
        elif _facts(old) != _facts(new):
            self.enqueue(new)

    def _gone(self, node: Object) -> None:
        name = name_of(node)
        self._heard.pop(name, None)
        self.tell(node, NODES, NORMAL, "RemovingNode", f"Node {name} event: Removing Node {name} from Controller")

    def _renewed(self, lease: Object) -> None:
        if namespace_of(lease) == LEASE_NAMESPACE and name_of(lease) in self._heard:
            self._heard[name_of(lease)] = self.clock.monotonic()

    async def reconcile(self, key: Key) -> None:
        node = self._nodes.by_key(key)
        if node is None or is_deleting(node):
            return
        posted = condition_of(node, "Ready") is not None
        grace = GRACE if posted else STARTUP_GRACE
        left = self._heard.get(key[1], 0.0) + grace - self.clock.monotonic()
        if left > 0:
            self.queue.add_after(key, left)
        elif (status := silent(node, self.clock.time())) is not None:
            was_ready = plans.ready_status(node) == "True"
            node = await self.client.nodes.update_status({**node, "status": status})
            if was_ready:
                self.tell(node, NODES, NORMAL, "NodeNotReady", f"Node {key[1]} status is now: NodeNotReady")
        if plans.ready_status(node) != "True":
            await self._pods_not_ready(key[1])
        await self._taint(node)

    async def _taint(self, node: Object) -> None:
        wanted = plans.taints(node, self.clock.time(), evict=self._may_evict())
        if wanted == ((node.get("spec") or {}).get("taints") or []):
            return
        await self.client.nodes.update(replace_in(node, ("spec", "taints"), wanted or None))

    def _may_evict(self) -> bool:
        """handleDisruption: full disruption of all zones stops evictions."""
        return any(plans.ready_status(node) == "True" for node in self._nodes)

    async def _pods_not_ready(self, node: str) -> None:
        """controller/util/node MarkPodsNotReady: nobody on the node can say so."""
        ready = [pod for pod in self._pods.by_index("node", node) if is_ready(pod)]
        await asyncio.gather(*(self._pod_not_ready(pod) for pod in ready))

    async def _pod_not_ready(self, pod: Object) -> None:
        old = condition_of(pod, "Ready") or {}
        new = {**old, "status": "False", "lastTransitionTime": rfc3339(self.clock.time())}
        self.tell(pod, PODS, WARNING, "NodeNotReady", "Node is not ready")
        try:
            await self.client.pods.patch(
                name_of(pod),
                {"status": {"conditions": [new]}},
                namespace_of(pod),
                type=STRATEGIC_PATCH,
                subresource="status",
            )
        except ApiError as error:
            if not error.is_not_found:
                raise


def _heartbeat(node: Object) -> str:
    return (condition_of(node, "Ready") or {}).get("lastHeartbeatTime") or ""


def _facts(node: Object) -> tuple[object, ...]:
    """What taints follow from."""
    spec = node.get("spec") or {}
    states = tuple((c.get("type"), c.get("status")) for c in (node.get("status") or {}).get("conditions") or ())
    return states, spec.get("unschedulable"), spec.get("taints")
