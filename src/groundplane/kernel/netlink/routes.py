"""IPv4 routes (rtnetlink(7), RTM_*ROUTE)."""

from __future__ import annotations

import _socket
import errno
import struct
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.channel import CREATE, EXCLUSIVE, REPLACE, Channel, Request

NEW, DELETE, GET = 24, 25, 26

# struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags
_RTMSG = struct.Struct("=BBBBBBBBI")
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _TABLE = 1, 4, 5, 6, 7, 15
_AF_INET = 2
_ONLINK = 4  # RTNH_F_ONLINK

TABLE_MAIN, TABLE_LOCAL = 254, 255
UNICAST, LOCAL, BLACKHOLE = 1, 2, 6
SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST = 0, 253, 254

# rtm_protocol: who made the route. 71 is free in iproute2's table and marks ours, so that a sweep finds them.
PROTOCOL = 71


class Route(NamedTuple):
    destination: str  # address/prefix
    link: int  # index of the outgoing link, 0 where there is none
    gateway: str
    source: str
    table: int
    kind: int
    protocol: int


def to(
    destination: str,
    link: int,
    *,
    gateway: str = "",
    source: str = "",
    kind: int = UNICAST,
    table: int = TABLE_MAIN,
    replace: bool = False,
) -> Request:
    """Add a route to `address/prefix` out of a link.

    A gateway is taken as on-link: it needs no route of its own. Without `replace`, an equal route is EEXIST.
    """
    scope = SCOPE_HOST if kind == LOCAL else SCOPE_GLOBAL if gateway else SCOPE_LINK
    body = _body(destination, scope, kind, table, _ONLINK if gateway else 0)
    if link:
        body += a.u32(_OIF, link)
    if gateway:
        body += a.attr(_GATEWAY, _socket.inet_aton(gateway))
    if source:
        body += a.attr(_PREFSRC, _socket.inet_aton(source))
    what = f"{destination} via {gateway}" if gateway else f"{destination} on link {link}"
    return Request(NEW, CREATE | (REPLACE if replace else EXCLUSIVE), body, "add route", what)


def delete(destination: str, *, link: int = 0, kind: int = 0, table: int = TABLE_MAIN) -> Request:
    """Delete our route to `destination`. Content where there is none."""
    # RT_SCOPE_NOWHERE (255) matches every scope, as `ip route del` does.
    body = _body(destination, 255, kind, table, 0)
    if link:
        body += a.u32(_OIF, link)
    return Request(DELETE, 0, body, "delete route", destination, (errno.ESRCH, errno.ENODEV))


def _body(destination: str, scope: int, kind: int, table: int, flags: int) -> bytes:
    address, _, prefix = destination.partition("/")
    length = int(prefix) if prefix else 32
    head = _RTMSG.pack(_AF_INET, length, 0, 0, table, PROTOCOL, scope, kind, flags)
    return head + a.attr(_DST, _socket.inet_aton(address)) if length else head


def list_all(channel: Channel, *, table: int = TABLE_MAIN, protocol: int = 0) -> list[Route]:
    """The IPv4 routes of a table, of one `protocol` where it is given."""
    head = _RTMSG.pack(_AF_INET, 0, 0, 0, table, protocol, 0, 0, 0) + a.u32(_TABLE, table)
    dumped = channel.dump(Request(GET, 0, head, "list routes", f"table {table}", (errno.ENOENT,)))
    found = [_route(data) for data in dumped]
    return [r for r in found if r.table == table and protocol in (0, r.protocol)]


def _route(data: bytes) -> Route:
    _, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(data)
    members = a.parse(data, _RTMSG.size)
    return Route(
        destination=f"{_text(members.get(_DST)) or '0.0.0.0'}/{length}",
        link=a.as_u32(members[_OIF]) if _OIF in members else 0,
        gateway=_text(members.get(_GATEWAY)),
        source=_text(members.get(_PREFSRC)),
        table=a.as_u32(members[_TABLE]) if _TABLE in members else table,
        kind=kind,
        protocol=protocol,
    )


def _text(packed: bytes | None) -> str:
    return _socket.inet_ntoa(packed) if packed and len(packed) == 4 else ""
