"""IPv4 addresses of links (rtnetlink(7), RTM_*ADDR)."""

from __future__ import annotations

import _socket
import errno
import struct
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.channel import CREATE, EXCLUSIVE, Channel, Request

NEW, DELETE, GET = 20, 21, 22

_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ADDRESS, _LOCAL, _LABEL = 1, 2, 3
_AF_INET = 2
SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST = 0, 253, 254


class Address(NamedTuple):
    link: int  # number of its link
    address: str
    prefix: int
    scope: int


def add(index: int, address: str, prefix: int = 32, scope: int = SCOPE_GLOBAL) -> Request:
    packed = _socket.inet_aton(address)
    body = _IFADDR.pack(_AF_INET, prefix, 0, scope, index) + a.attr(_LOCAL, packed) + a.attr(_ADDRESS, packed)
    return Request(NEW, CREATE | EXCLUSIVE, body, "add address", f"{address}/{prefix} on link {index}")


def delete(index: int, address: str, prefix: int = 32) -> Request:
    packed = _socket.inet_aton(address)
    body = _IFADDR.pack(_AF_INET, prefix, 0, 0, index) + a.attr(_LOCAL, packed) + a.attr(_ADDRESS, packed)
    return Request(DELETE, 0, body, "delete address", f"{address}/{prefix}", (errno.EADDRNOTAVAIL, errno.ENODEV))


def list_all(channel: Channel, index: int = 0) -> list[Address]:
    """All IPv4 addresses, or those of one link."""
    body = _IFADDR.pack(_AF_INET, 0, 0, 0, index)
    found: list[Address] = []
    for data in channel.dump(Request(GET, 0, body, "list addresses", "IPv4")):
        _, prefix, _, scope, link = _IFADDR.unpack_from(data)
        members = a.parse(data, _IFADDR.size)
        packed = members.get(_LOCAL) or members.get(_ADDRESS)
        if packed and len(packed) == 4:
            found.append(Address(link, _socket.inet_ntoa(packed), prefix, scope))
    return found
