"""The pod network's own nf_tables table, `ground-<instance>-pods`.

    prerouting (raw)     from a pod's link to 127.0.0.0/8 ─────────────► drop
    postrouting (nat)    a translated connection of a pod to itself ───► comes from the node's address ("hairpin")
                         from a pod to outside the cluster ────────────► comes from the outgoing link's address

*Guard*: pod links have `route_localnet` on, because a node port asked on localhost is sent to a pod (dataplane). That
setting alone would let a pod reach the host's 127.0.0.1. At raw priority the answers of our own connections still carry
the node's address, so whatever names 127.0.0.0/8 there is forged.

*Hairpin*: a pod that asks a Service and is given itself as endpoint would get a packet from its own address, which it
drops. It must see another source. nf_tables cannot compare two addresses of a packet with each other, so the pairs
(pod, pod) stand in a set: one element per pod of this host.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network

from groundplane.kernel.netlink.channel import Channel
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

R = x.R
_FORMAT = "2"  # to be raised when the rules below change: a table of another format is replaced


@dataclass(frozen=True, slots=True)
class PodRange:
    """What the rules depend on. `cluster` holds all nodes' pods, `local` this node's."""

    local: IPv4Network
    cluster: IPv4Network
    node_ip: str
    links: str  # how the names of pod links begin

    @property
    def digest(self) -> str:
        return sha256(f"{_FORMAT} {self}".encode()).hexdigest()[:16]


def table_name(instance: str) -> str:
    return f"ground-{instance}-pods"


def hairpin_set(table: str) -> o.Set:
    return o.Set(table, "hairpin", (o.IPV4_TYPE, o.IPV4_TYPE))


def hairpin(address: str) -> o.Element:
    packed = socket.inet_aton(address)
    return o.Element(o.key_bytes(packed, packed))


def install(channel: Channel, table: str, pods: PodRange, addresses: list[str]) -> None:
    """Make the kernel's table what it should be, in one transaction; nothing is sent where it is already."""
    transaction = Transaction()
    wanted = {hairpin(a) for a in addresses}
    present: set[o.Element] = set()
    if listing.tables(channel).get(table) == pods.digest:
        present = set(listing.elements(channel, table, "hairpin"))
    else:
        transaction.add(o.add_table(table), o.delete_table(table))
        _add_table(transaction, table, pods)
    transaction.extend(o.delete_elements(hairpin_set(table), sorted(present - wanted, key=_key)))
    transaction.extend(o.add_elements(hairpin_set(table), sorted(wanted - present, key=_key)))
    transaction.commit(channel)


def _key(element: o.Element) -> bytes:
    return element.key


def _add_table(t: Transaction, table: str, pods: PodRange) -> None:
    link = pods.links.encode()
    loopback = (x.daddr(R[0]), x.mask(R[0], b"\xff\0\0\0"), x.cmp(R[0], b"\x7f\0\0\0"))
    to_itself = (x.saddr(R[0]), x.daddr(R[1]), x.lookup("hairpin", R[0]))
    translated = (x.ct_status(R[4]), x.mask(R[4], x.host32(x.CT_STATUS_DNAT)), x.cmp(R[4], x.host32(0), x.NEQ))
    t.add(
        o.add_table(table, pods.digest),
        o.add_set(hairpin_set(table)),
        o.add_base_chain(table, "guard", "filter", o.PREROUTING, o.RAW),
        o.add_rule(table, "guard", x.iifname(R[0]), x.cmp(R[0], link), *loopback, x.counter(), x.drop()),
        o.add_base_chain(table, "postrouting", "nat", o.POSTROUTING, o.SRCNAT),
        o.add_rule(
            table,
            "postrouting",
            *to_itself,
            *translated,
            x.immediate(R[5], socket.inet_aton(pods.node_ip)),
            x.snat(R[5]),
        ),
        o.add_rule(
            table,
            "postrouting",
            *within(x.saddr(R[0]), pods.local),
            *within(x.daddr(R[0]), pods.cluster, x.NEQ),
            x.oifname(R[0]),
            x.cmp(R[0], link, x.NEQ),
            x.masquerade(),
        ),
    )


def within(load: bytes, network: IPv4Network, operation: int = x.EQ) -> tuple[bytes, ...]:
    """Go on where the address that `load` puts into R[0] is in the network (or is not: NEQ)."""
    address, mask = network.network_address.packed, network.netmask.packed
    return load, x.mask(R[0], mask), x.cmp(R[0], address, operation)
