"""Permanent neighbours: which link-layer address answers for an IPv4 address (rtnetlink(7), RTM_*NEIGH)."""

from __future__ import annotations

import _socket
import struct
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.channel import CREATE, REPLACE, Channel, Request

NEW, DELETE, GET = 28, 29, 30

_NDMSG = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_DST, _LLADDR = 1, 2
_AF_INET = 2
_PERMANENT = 0x80  # NUD_PERMANENT: never asked about, never aged


class Neighbour(NamedTuple):
    link: int
    address: str
    mac: bytes
    permanent: bool


def permanent(link: int, address: str, mac: bytes) -> Request:
    """Answer for `address` with `mac` without ARP; replaces what is known."""
    body = _NDMSG.pack(_AF_INET, link, _PERMANENT, 0, 0) + a.attr(_DST, _socket.inet_aton(address))
    body += a.attr(_LLADDR, mac)
    return Request(NEW, CREATE | REPLACE, body, "set neighbour", f"{address} on link {link}")


def list_all(channel: Channel) -> list[Neighbour]:
    found: list[Neighbour] = []
    for data in channel.dump(Request(GET, 0, _NDMSG.pack(_AF_INET, 0, 0, 0, 0), "list neighbours", "IPv4")):
        _, link, state, _, _ = _NDMSG.unpack_from(data)
        members = a.parse(data, _NDMSG.size)
        if len(members.get(_DST, b"")) == 4:
            address = _socket.inet_ntoa(members[_DST])
            found.append(Neighbour(link, address, members.get(_LLADDR, b""), bool(state & _PERMANENT)))
    return found
