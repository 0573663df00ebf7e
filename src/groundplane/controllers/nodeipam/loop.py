"""The node IPAM controller. One worker: two nodes must never be given the same range."""

from __future__ import annotations

from groundplane.client.contract import STRATEGIC_PATCH, Object
from groundplane.client.events import WARNING
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, is_deleting, name_of
from groundplane.client.resources import NODES
from groundplane.controllers.nodeipam.plan import Ranges
from groundplane.controllers.runner import Context, KeyedController


class NodeIPAMController(KeyedController):
    """Keys are nodes without a range."""

    name = "nodeipam"
    account = "node-controller"
    component = "cidrAllocator"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        nodes = self.watch(NODES)
        self._nodes = nodes.cache
        self._ranges = Ranges(context.facts.pod_cidr, context.facts.node_cidr_mask)
        self._given: dict[str, str] = {}  # by node name, also before the informer shows it
        self._without: set[Key] = set()  # nodes that wait for a range to become free
        nodes.add_handler(Handler(add=self._came, update=lambda _, new: self._came(new), delete=self._gone))

    def _came(self, node: Object) -> None:
        if cidr := node.get("spec", {}).get("podCIDR"):
            self._ranges.take(cidr)
            self._given[name_of(node)] = cidr
        else:
            self.enqueue(node)

    def _gone(self, node: Object) -> None:
        if cidr := self._given.pop(name_of(node), ""):
            self._ranges.free(cidr)
        self._without.discard(("", name_of(node)))
        for key in sorted(self._without):
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        node = self._nodes.by_key(key)
        if node is None or is_deleting(node) or node.get("spec", {}).get("podCIDR"):
            return
        cidr = self._given.get(key[1]) or self._ranges.allocate()
        if cidr is None:
            if key not in self._without:
                message = f"Node {key[1]} status is now: CIDRNotAvailable"
                self.tell(node, NODES, WARNING, "CIDRNotAvailable", message)
            self._without.add(key)
            return
        self._without.discard(key)
        self._given[key[1]] = cidr
        patch = {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
        await self.client.nodes.patch(key[1], patch, type=STRATEGIC_PATCH)
