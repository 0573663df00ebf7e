"""Forgetting tracked connections (ctnetlink): UDP to an endpoint that is gone must find another one.

A tracked UDP flow keeps its translation as long as packets go on, so a client that never pauses would talk to a removed
endpoint for ever. TCP is left alone: its connections end or go on with the process that holds them.
"""

from __future__ import annotations

import _socket
import errno
import struct
from collections.abc import Callable
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.channel import Channel, NetlinkError, Request

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_HEAD = struct.pack(">BBH", 2, 0, 0)  # struct nfgenmsg: NFPROTO_IPV4
_ORIGINAL, _REPLY, _STATUS, _ID, _FILTER = 1, 2, 3, 12, 25
_IP, _PROTO = 1, 2
_BE16 = struct.Struct(">H")
_BY_PROTOCOL = 1 << 3  # CTA_FILTER_FLAG(CTA_PROTO_NUM)
SNAT, DNAT = 0x10, 0x20  # IPS_SRC_NAT, IPS_DST_NAT


class Tuple(NamedTuple):
    source: str
    destination: str
    source_port: int
    destination_port: int


class Flow(NamedTuple):
    """One tracked connection: as it was sent, as answers come back (`reply.source` is the endpoint), and its status."""

    original: Tuple
    reply: Tuple
    status: int
    key: bytes  # the attributes that name it to the kernel


def flows(channel: Channel, protocol: int) -> list[Flow]:
    """The IPv4 flows of an IP protocol number. `channel` is of family NETFILTER."""
    # CTA_FILTER (Linux ≥5.8) lets the kernel leave out other protocols; without it we do.
    wanted = a.nest(_ORIGINAL, a.nest(_PROTO, a.u8(1, protocol)))
    wanted += a.nest(_FILTER, a.u32(1, _BY_PROTOCOL), a.u32(2, 0))
    try:
        parts = channel.dump(Request(_GET, 0, _HEAD + wanted, "list flows", f"protocol {protocol}"))
    except NetlinkError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        parts = channel.dump(Request(_GET, 0, _HEAD, "list flows", "all"))
    found = [_flow(data) for data in parts]
    return [flow for number, flow in found if number == protocol]


def forget(channel: Channel, protocol: int, chosen: Callable[[Flow], bool]) -> int:
    """Delete the flows that `chosen` accepts; how many there were. One that ended meanwhile is no error."""
    doomed = [flow for flow in flows(channel, protocol) if chosen(flow)]
    for start in range(0, len(doomed), 256):
        channel.perform(*(_delete(flow) for flow in doomed[start : start + 256]))
    return len(doomed)


def _delete(flow: Flow) -> Request:
    what = f"{flow.original.source} → {flow.original.destination}:{flow.original.destination_port}"
    return Request(_DELETE, 0, _HEAD + flow.key, "delete flow", what, (errno.ENOENT,))


def _flow(data: bytes) -> tuple[int, Flow]:
    members = a.parse(data, len(_HEAD))
    number, original = _tuple(members[_ORIGINAL])
    _, reply = _tuple(members[_REPLY])
    status = a.as_be32(members[_STATUS]) if _STATUS in members else 0
    key = a.attr(_ORIGINAL | a.NESTED, members[_ORIGINAL])
    if _ID in members:  # so that a new flow with the same addresses is spared
        key += a.attr(_ID, members[_ID])
    return number, Flow(original, reply, status, key)


def _tuple(packed: bytes) -> tuple[int, Tuple]:
    members = a.parse(packed)
    ip, proto = a.parse(members[_IP]), a.parse(members[_PROTO])
    source_port = _BE16.unpack(proto[2])[0] if 2 in proto else 0
    destination_port = _BE16.unpack(proto[3])[0] if 3 in proto else 0
    addresses = _socket.inet_ntoa(ip[1]), _socket.inet_ntoa(ip[2])
    return proto[1][0], Tuple(*addresses, source_port, destination_port)
