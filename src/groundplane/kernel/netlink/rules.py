"""Policy routing rules for IPv4: which table is asked for which packets (rtnetlink(7), RTM_*RULE)."""

from __future__ import annotations

import _socket
import errno
import struct
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.channel import CREATE, EXCLUSIVE, Channel, Request

NEW, DELETE, GET = 32, 33, 34

# struct fib_rule_hdr: family, dst length, src length, tos, table, reserved, reserved, action, flags
_HEAD = struct.Struct("=BBBBBBBBI")
_DST, _SRC, _PRIORITY, _MARK, _MASK, _TABLE = 1, 2, 6, 10, 16, 15
_AF_INET = 2
_TO_TABLE = 1  # FR_ACT_TO_TBL


class Rule(NamedTuple):
    priority: int
    table: int
    mark: int


def to_table(table: int, priority: int, *, source: str = "", mark: int = 0) -> Request:
    """Ask `table` for packets from `source` (address/prefix) or with a mark."""
    return Request(NEW, CREATE | EXCLUSIVE, _body(table, priority, source, mark), "add rule", f"priority {priority}")


def delete(table: int, priority: int, *, source: str = "", mark: int = 0) -> Request:
    body = _body(table, priority, source, mark)
    return Request(DELETE, 0, body, "delete rule", f"priority {priority}", (errno.ENOENT,))


def _body(table: int, priority: int, source: str, mark: int) -> bytes:
    address, _, prefix = source.partition("/")
    length = int(prefix or 32) if address else 0
    body = _HEAD.pack(_AF_INET, 0, length, 0, min(table, 255), 0, 0, _TO_TABLE, 0)
    body += a.u32(_PRIORITY, priority) + a.u32(_TABLE, table)
    if address:
        body += a.attr(_SRC, _socket.inet_aton(address))
    if mark:
        body += a.u32(_MARK, mark) + a.u32(_MASK, 0xFFFFFFFF)
    return body


def list_all(channel: Channel) -> list[Rule]:
    found: list[Rule] = []
    for data in channel.dump(Request(GET, 0, _HEAD.pack(_AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), "list rules", "IPv4")):
        members = a.parse(data, _HEAD.size)
        priority = a.as_u32(members[_PRIORITY]) if _PRIORITY in members else 0
        mark = a.as_u32(members[_MARK]) if _MARK in members else 0
        found.append(Rule(priority, a.as_u32(members[_TABLE]), mark))
    return found
