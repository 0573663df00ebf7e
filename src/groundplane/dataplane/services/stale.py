"""What must be forgotten when an endpoint leaves: UDP flows that still go to it, and clients that are kept to it.

TCP connections are left alone: they end, or go on, with the process that holds them. Both lists are read only when a
change has something to do with them, so a cluster without UDP or sticky Services pays nothing.
"""

from __future__ import annotations

from groundplane.dataplane.services import elements as e
from groundplane.dataplane.services.plan import ANY_NODE, THIS_NODE, UDP, Backend, Front
from groundplane.kernel.netlink import conntrack
from groundplane.kernel.netlink.channel import Channel
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction


def forget(channel: Channel, affinity: o.Set, change: e.Change) -> None:
    """Flows and affinities that the change has made wrong."""
    left = [(key, data) for (name, key), data in change.gone if name == e.BACKENDS]
    there = [(key, data) for (name, key), data in change.new if name == e.BACKENDS]
    new_nodeports = {
        int.from_bytes(key[4:6], "big") for (name, key), _ in change.new if name == e.NODEPORTS and key[0] == UDP
    }
    _forget_flows(channel, _udp(left) - _udp(there), new_nodeports)  # one that only has another slot has not left
    if left:
        _forget_clients(channel, affinity, {key for key, _ in left})


def _udp(elements: list[tuple[bytes, bytes]]) -> set[tuple[Front, Backend]]:
    return {(e.front_of(key), e.backend_of(data)) for key, data in elements if key[4] == UDP}


def _forget_flows(channel: Channel, gone: set[tuple[Front, Backend]], new_nodeports: set[int]) -> None:
    if not gone and not new_nodeports:
        return

    def is_stale(flow: conntrack.Flow) -> bool:
        sent, answered = flow.original, flow.reply
        if not flow.status & (conntrack.DNAT | conntrack.SNAT):
            # A client that asked a node port before it existed would stay untranslated as long as it goes on asking.
            return sent.destination_port in new_nodeports
        fronts = (sent.destination, ANY_NODE, THIS_NODE)
        endpoint = Backend(answered.source, answered.source_port)
        return any((Front(a, UDP, sent.destination_port), endpoint) in gone for a in fronts)

    conntrack.forget(channel, UDP, is_stale)


def _forget_clients(channel: Channel, affinity: o.Set, left: set[bytes]) -> None:
    """Affinity's key is front . client . slot; a backend's is front . slot."""
    remembered = listing.elements(channel, affinity.table, affinity.name)
    doomed = [o.Element(one.key) for one in remembered if one.key[:12] + one.key[16:20] in left]
    for element in doomed:
        # One by one and content with ENOENT, because an element may time out meanwhile.
        Transaction(r.unless(2) for r in o.delete_elements(affinity, [element])).commit(channel)
