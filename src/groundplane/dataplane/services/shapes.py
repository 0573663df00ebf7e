"""The chains that pick an endpoint. They belong to a shape, not to a Service: a thousand Services with three endpoints
each share the chain `pick-3`, and an endpoint that comes or goes changes elements of maps, not rules.

    services   (address . protocol . port)          → goto pick-3
    pick-3     (address . protocol . port . random 0…2) looked up in `backends` → dnat to (address . port)

A sticky shape remembers in `affinity` (front . client . slot) for so many seconds, as kube-proxy does with one set per
endpoint; the first slot that is remembered wins, else a random one is picked and remembered:

    pick-2-sticky-10800   … . slot 0 @affinity goto to-0-sticky-10800
                          … . slot 1 @affinity goto to-1-sticky-10800
                          random 0…1 → goto to-0-…, to-1-…
    to-0-sticky-10800     remember; (front . 0) looked up in `backends` → dnat
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv4Network
from typing import NamedTuple

from groundplane.dataplane.services.plan import ANY_NODE, THIS_NODE, Shape
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

R = x.R
MARK = 0x4000  # kube-proxy's masquerade mark (--iptables-masquerade-bit 14): "answers must come back through here"


class Sets(NamedTuple):
    """The table's maps."""

    services: o.Set
    nodeports: o.Set
    backends: o.Set
    affinity: o.Set


class _Pick(NamedTuple):
    """A chain that picks: for fronts under the packet's own destination ("") or under a fixed address."""

    under: str
    slots: tuple[int, ...]
    sticky: int
    marked: bool = False

    @property
    def prefix(self) -> str:
        where = {"": "", ANY_NODE: "node-", THIS_NODE: "here-"}[self.under]
        return ("masq-" if self.marked else "") + where

    @property
    def suffix(self) -> str:
        return f"-sticky-{self.sticky}" if self.sticky else ""

    @property
    def name(self) -> str:
        return f"{self.prefix}pick-{_slots(self.slots)}{self.suffix}"

    def target(self, slot: int) -> str:
        where = {"": "", ANY_NODE: "node-", THIS_NODE: "here-"}[self.under]
        return f"{where}to-{slot}{self.suffix}"


Rule = tuple[bytes, ...]
Chain = tuple[str, Callable[[Transaction], list[Rule]]]


def name(shape: Shape) -> str:
    """The chain that a front of this shape goes to."""
    match shape.kind:
        case "cluster":
            return _Pick("", shape.slots, shape.sticky).name
        case "node":
            return _Pick(ANY_NODE, shape.slots, shape.sticky, marked=True).name
        case "node-local":
            suffix = f"-sticky-{shape.sticky}" if shape.sticky else ""
            return f"local-{_slots(shape.local)}-of-{_slots(shape.slots)}{suffix}"
    return shape.kind


def chains(shape: Shape, sets: Sets, pods: IPv4Network) -> list[Chain]:
    """The chains of a shape, those that are gone to first; each with a function that gives its rules."""
    match shape.kind:
        case "reject":
            return [("reject", lambda _: [(x.reject(),)])]
        case "drop":
            return [("drop", lambda _: [(x.drop(),)])]
        case "cluster":
            return _pick(_Pick("", shape.slots, shape.sticky), sets)
        case "node":
            return _pick(_Pick(ANY_NODE, shape.slots, shape.sticky, marked=True), sets)
    return _node_local(shape, sets, pods)


def _node_local(shape: Shape, sets: Sets, pods: IPv4Network) -> list[Chain]:
    """externalTrafficPolicy Local: sources are kept, so only endpoints of this node can answer outsiders.

    Pods and this node itself are not outsiders and get any endpoint (kube-proxy: "short-circuit").
    """
    everywhere = _Pick(ANY_NODE, shape.slots, shape.sticky)
    masqueraded = everywhere._replace(marked=True)
    made = _pick(everywhere, sets) + _pick(masqueraded, sets)
    from_pod: Rule = (*_within(x.saddr(R[0]), pods), x.goto(everywhere.name))
    from_node: Rule = (x.fib_saddr_type(R[0]), x.cmp(R[0], x.host32(x.LOCAL)), x.goto(masqueraded.name))
    last: Rule = (x.drop(),)
    if shape.local:
        here = _Pick(THIS_NODE, shape.local, shape.sticky)
        made += _pick(here, sets)
        last = (x.goto(here.name),)
    return [*made, (name(shape), lambda _: [from_pod, from_node, last])]


def _pick(pick: _Pick, sets: Sets) -> list[Chain]:
    mark: list[Rule] = [(x.mark(R[0]), x.mask(R[0], *_or(MARK)), x.set_mark(R[0]))] if pick.marked else []
    if not pick.sticky:
        chosen = x.random(R[3], len(pick.slots))
        rule: Rule = (*_front(pick), chosen, x.lookup(sets.backends.name, R[0], R[8]), x.dnat(R[8], R[9]))
        return [(pick.name, lambda _: [*mark, rule])]
    targets: list[Chain] = [(pick.target(slot), _to(pick, slot, sets)) for slot in pick.slots]
    return [*targets, (pick.name, lambda t: [*mark, *_remembered(pick, sets), _anew(pick, sets, t)])]


def _to(pick: _Pick, slot: int, sets: Sets) -> Callable[[Transaction], list[Rule]]:
    remember = x.remember(sets.affinity.name, R[0], seconds=pick.sticky)
    to = (x.immediate(R[3], x.host32(slot)), x.lookup(sets.backends.name, R[0], R[8]), x.dnat(R[8], R[9]))
    return lambda _: [(*_client(pick, slot), remember), (*_front(pick), *to)]


def _remembered(pick: _Pick, sets: Sets) -> list[Rule]:
    known = x.lookup(sets.affinity.name, R[0])
    return [(*_client(pick, slot), known, x.goto(pick.target(slot))) for slot in pick.slots]


def _anew(pick: _Pick, sets: Sets, transaction: Transaction) -> Rule:
    which = o.Set(sets.services.table, "__map%d", (o.MARK_TYPE,), verdicts=True, id=transaction.set_id())
    targets = enumerate(pick.slots)
    transaction.add(o.add_set(which))
    transaction.extend(
        o.add_elements(which, [o.Element(x.host32(i), verdict=x.goto_data(pick.target(s))) for i, s in targets])
    )
    return (x.random(R[0], len(pick.slots)), x.lookup(which.name, R[0], x.VERDICT, set_id=which.id))


def _front(pick: _Pick) -> Rule:
    """R[0] … R[2]: the front's address, protocol, port."""
    address = x.immediate(R[0], socket.inet_aton(pick.under)) if pick.under else x.daddr(R[0])
    return address, x.l4proto(R[1]), x.dport(R[2])


def _client(pick: _Pick, slot: int) -> Rule:
    """A key of `affinity`."""
    return (*_front(pick), x.saddr(R[3]), x.immediate(R[4], x.host32(slot)))


def _or(bits: int) -> tuple[bytes, bytes]:
    return x.host32(~bits & 0xFFFFFFFF), x.host32(bits)


def _within(load: bytes, network: IPv4Network) -> Rule:
    return load, x.mask(R[0], network.netmask.packed), x.cmp(R[0], network.network_address.packed)


def _slots(slots: tuple[int, ...]) -> str:
    """`3` for 0, 1, 2; with holes the list itself, or its digest where it is long (a chain's name has 255 bytes)."""
    if slots == tuple(range(len(slots))):
        return str(len(slots))
    listed = ".".join(map(str, slots))
    return f"s{listed}" if len(listed) < 60 else f"d{sha256(listed.encode()).hexdigest()[:16]}"
