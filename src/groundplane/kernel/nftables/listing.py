"""What the kernel has of a table: chains, rules by their comment, elements. For reconciliation and sweeps."""

from __future__ import annotations

import errno
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.attributes import text
from groundplane.kernel.netlink.channel import Channel, NetlinkError, Request
from groundplane.kernel.nftables.objects import GET_CHAIN, GET_ELEMENTS, GET_RULE, GET_TABLE, HEAD, Element

_NFGENMSG_SIZE = 4


class Rule(NamedTuple):
    chain: str
    handle: int
    comment: str


def tables(channel: Channel) -> dict[str, str]:
    """The ip family's tables: name → comment."""
    found: dict[str, str] = {}
    for data in channel.dump(Request(GET_TABLE, 0, HEAD, "list tables", "ip")):
        members = a.parse(data, _NFGENMSG_SIZE)
        found[a.as_text(members[1])] = _comment(members.get(6, b""))
    return found


def chains(channel: Channel, table: str) -> list[str]:
    """Names of a table's chains; none where there is no such table."""
    found: list[str] = []
    for data in channel.dump(Request(GET_CHAIN, 0, HEAD, "list chains", f"ip {table}")):
        members = a.parse(data, _NFGENMSG_SIZE)
        if a.as_text(members[1]) == table:
            found.append(a.as_text(members[3]))
    return found


def rules(channel: Channel, table: str, chain: str = "") -> list[Rule]:
    body = HEAD + text(1, table) + (text(2, chain) if chain else b"")
    found: list[Rule] = []
    for data in channel.dump(Request(GET_RULE, 0, body, "list rules", f"ip {table} {chain}".rstrip())):
        members = a.parse(data, _NFGENMSG_SIZE)
        if a.as_text(members[1]) != table or (chain and a.as_text(members[2]) != chain):
            continue
        handle = int.from_bytes(members[3], "big")
        found.append(Rule(a.as_text(members[2]), handle, _comment(members.get(7, b""))))
    return found


def elements(channel: Channel, table: str, name: str) -> list[Element]:
    """A set's elements; `verdict` of a verdict map's is the name of its chain as bytes. None where there is no set."""
    body = HEAD + text(1, table) + text(2, name)
    found: list[Element] = []
    try:
        parts = channel.dump(Request(GET_ELEMENTS, 0, body, "list elements", f"ip {table} {name}"))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
    for data in parts:
        listed = a.parse(data, _NFGENMSG_SIZE).get(3, b"")
        found += [_element(packed) for _, packed in a.parse_list(listed)]
    return found


def _element(packed: bytes) -> Element:
    members = a.parse(packed)
    data = a.parse(members.get(2, b""))
    verdict = a.parse(data.get(2, b""))
    chain = verdict.get(2, b"").partition(b"\0")[0]
    return Element(key=a.parse(members[1])[1], data=data.get(1, b""), verdict=chain)


def _comment(userdata: bytes) -> str:
    """The comment of libnftnl's type-length-value userdata."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, size = userdata[offset], userdata[offset + 1]
        if kind == 0:
            return a.as_text(userdata[offset + 2 : offset + 2 + size])
        offset += 2 + size
    return ""
