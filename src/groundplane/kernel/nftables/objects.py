"""Tables, chains, rules, sets and elements as requests for a transaction (nft(8), linux/netfilter/nf_tables.h).

Family `ip` throughout. Adding what is there already is success (as `nft add`); deleting what is not there fails the
transaction, so `add` and `delete` in one transaction means "delete where it exists".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from groundplane.kernel.netlink.attributes import NESTED, attr, be32, be64, nest, text
from groundplane.kernel.netlink.channel import APPEND, CREATE, Request

SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
NEW_TABLE, GET_TABLE, DELETE_TABLE = SUBSYSTEM, SUBSYSTEM + 1, SUBSYSTEM + 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = SUBSYSTEM + 3, SUBSYSTEM + 4, SUBSYSTEM + 5
NEW_RULE, GET_RULE, DELETE_RULE = SUBSYSTEM + 6, SUBSYSTEM + 7, SUBSYSTEM + 8
NEW_SET, GET_SET, DELETE_SET = SUBSYSTEM + 9, SUBSYSTEM + 10, SUBSYSTEM + 11
NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS = SUBSYSTEM + 12, SUBSYSTEM + 13, SUBSYSTEM + 14

IPV4 = 2  # NFPROTO_IPV4
_NFGENMSG = struct.Struct(">BBH")
HEAD = _NFGENMSG.pack(IPV4, 0, 0)

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
RAW, DSTNAT, FILTER, SRCNAT = -300, -100, 0, 100  # the usual priorities

# nft's numbers of data types (its datatype.h): only for `nft list`, the kernel keeps and gives them back.
MARK_TYPE, INTEGER_TYPE, IPV4_TYPE, PROTO_TYPE, PORT_TYPE = 19, 4, 7, 12, 13
_TYPE_BITS = 6
_VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT
_TYPE_SIZE = {MARK_TYPE: 4, INTEGER_TYPE: 4, IPV4_TYPE: 4, PROTO_TYPE: 1, PORT_TYPE: 2}

_ANONYMOUS, _CONSTANT, _INTERVAL, _MAP, _TIMEOUT, _EVAL, _CONCAT = 1, 2, 4, 8, 0x10, 0x20, 0x80
_INTERVAL_END = 1
_ELEMENTS_PER_MESSAGE = 48_000  # bytes: a nested attribute's length is 16 bits


@dataclass(frozen=True, slots=True)
class Set:
    """A named set, or a map where `data` or `verdicts` is given. `key` and `data` are types; several are concatenated.

    `dynamic` sets are filled by packets and their elements time out. `interval` sets hold ranges.
    """

    table: str
    name: str
    key: Sequence[int]
    data: Sequence[int] = ()
    verdicts: bool = False
    dynamic: bool = False
    interval: bool = False
    timeout: int = 0  # seconds, an element's where it does not say otherwise
    size: int = 0  # most elements; required by the kernel for dynamic sets
    id: int = 0  # not 0: anonymous, of the rule of this transaction that looks it up

    @property
    def is_map(self) -> bool:
        return self.verdicts or bool(self.data)


@dataclass(frozen=True, slots=True)
class Element:
    """One element: `key` by `key_bytes`; `data` a map's; `verdict` by `verdict_data`; `end`: a range's last key."""

    key: bytes
    data: bytes = b""
    verdict: bytes = b""
    end: bytes = b""
    timeout: int = 0


def key_bytes(*fields: bytes) -> bytes:
    """A concatenation: each field padded to a multiple of 4 bytes."""
    return b"".join(f + bytes(-len(f) % 4) for f in fields)


def _request(kind: int, flags: int, call: str, object: str, *members: bytes) -> Request:
    return Request(kind, flags, HEAD + b"".join(members), call, object)


def _comment(kind: int, comment: str) -> bytes:
    """Userdata as libnftnl packs it (type 0: comment), shown by `nft list`; at most 128 bytes."""
    data = comment.encode()[:126] + b"\0"
    return attr(kind, bytes((0, len(data))) + data) if comment else b""


def add_table(table: str, comment: str = "") -> Request:
    return _request(NEW_TABLE, CREATE, "add table", f"ip {table}", text(1, table), be32(2, 0), _comment(6, comment))


def delete_table(table: str) -> Request:
    return _request(DELETE_TABLE, 0, "delete table", f"ip {table}", text(1, table))


def add_chain(table: str, name: str) -> Request:
    return _request(NEW_CHAIN, CREATE, "add chain", f"ip {table} {name}", text(1, table), text(3, name))


def add_base_chain(table: str, name: str, kind: str, hook: int, priority: int) -> Request:
    """A chain that packets enter at a hook; `kind` is filter or nat; its policy is accept."""
    where = nest(4, be32(1, hook), be32(2, priority & 0xFFFFFFFF))
    members = (text(1, table), text(3, name), where, be32(5, 1), text(7, kind))
    return _request(NEW_CHAIN, CREATE, "add chain", f"ip {table} {name}", *members)


def delete_chain(table: str, name: str) -> Request:
    return _request(DELETE_CHAIN, 0, "delete chain", f"ip {table} {name}", text(1, table), text(3, name))


def add_rule(table: str, chain: str, *expressions: bytes, comment: str = "", first: bool = False) -> Request:
    """Append a rule, or insert it before all others where `first`."""
    members = (text(1, table), text(2, chain), nest(4, *expressions), _comment(7, comment))
    return _request(NEW_RULE, CREATE | (0 if first else APPEND), "add rule", f"ip {table} {chain}", *members)


def delete_rule(table: str, chain: str, handle: int) -> Request:
    what = f"ip {table} {chain} handle {handle}"
    return _request(DELETE_RULE, 0, "delete rule", what, text(1, table), text(2, chain), be64(3, handle))


def flush_chain(table: str, chain: str) -> Request:
    """Delete all rules of a chain."""
    return _request(DELETE_RULE, 0, "flush chain", f"ip {table} {chain}", text(1, table), text(2, chain))


def add_set(s: Set) -> Request:
    flags = _MAP if s.is_map else 0
    flags |= _INTERVAL if s.interval else 0
    flags |= _TIMEOUT | _EVAL if s.dynamic else _TIMEOUT if s.timeout else 0
    flags |= _ANONYMOUS | _CONSTANT if s.id else 0
    flags |= _CONCAT if s.interval and len(s.key) > 1 else 0
    members = [text(1, s.table), text(2, s.name), be32(3, flags), be32(4, _type(s.key)), be32(5, _size(s.key))]
    if s.verdicts:
        members += [be32(6, _VERDICT_TYPE), be32(7, 16)]
    elif s.data:
        members += [be32(6, _type(s.data)), be32(7, _size(s.data))]
    if description := _description(s):
        members.append(nest(9, *description))
    members.append(be32(10, s.id or 1))
    if s.timeout:
        members.append(be64(11, s.timeout * 1000))
    return _request(NEW_SET, CREATE, "add map" if s.is_map else "add set", f"ip {s.table} {s.name}", *members)


def _description(s: Set) -> list[bytes]:
    found = [be32(1, s.size)] if s.size else []
    if s.interval and len(s.key) > 1:  # the fields of a concatenation of ranges (pipapo, Linux ≥5.6)
        found.append(nest(2, *(nest(1, be32(1, _TYPE_SIZE[t])) for t in s.key)))
    return found


def _type(types: Sequence[int]) -> int:
    number = 0
    for t in types:
        number = number << _TYPE_BITS | t
    return number


def _size(types: Sequence[int]) -> int:
    return _TYPE_SIZE[types[0]] if len(types) == 1 else sum(_TYPE_SIZE[t] + 3 & ~3 for t in types)


def delete_set(table: str, name: str) -> Request:
    return _request(DELETE_SET, 0, "delete set", f"ip {table} {name}", text(1, table), text(2, name))


def add_elements(s: Set, elements: Iterable[Element]) -> list[Request]:
    """An element with the same key and data is left as it is; with other data it fails (EEXIST): delete it first."""
    return [_elements(NEW_ELEMENTS, CREATE, "add elements", s, part) for part in _parts(s, elements)]


def delete_elements(s: Set, elements: Iterable[Element]) -> list[Request]:
    return [_elements(DELETE_ELEMENTS, 0, "delete elements", s, part) for part in _parts(s, elements)]


def _elements(kind: int, flags: int, call: str, s: Set, packed: list[bytes]) -> Request:
    members = [text(1, s.table), text(2, s.name), nest(3, *packed)]
    if s.id:
        members.append(be32(4, s.id))
    return _request(kind, flags, call, f"ip {s.table} {s.name} ({len(packed)} elements)", *members)


def _parts(s: Set, elements: Iterable[Element]) -> Iterator[list[bytes]]:
    packed: list[bytes] = []
    room = _ELEMENTS_PER_MESSAGE
    for element in elements:
        for one in _pack_element(s, element):
            if len(one) > room:
                yield packed
                packed, room = [], _ELEMENTS_PER_MESSAGE
            packed.append(one)
            room -= len(one)
    if packed:
        yield packed


def _pack_element(s: Set, e: Element) -> Iterator[bytes]:
    members = [nest(1, attr(1, e.key))]
    if e.verdict:
        members.append(attr(2 | NESTED, e.verdict))
    elif e.data:
        members.append(nest(2, attr(1, e.data)))
    if e.timeout:
        members.append(be64(4, e.timeout * 1000))
    if e.end and len(s.key) > 1:
        members.append(nest(10, attr(1, e.end)))
    yield nest(1, *members)
    if e.end and len(s.key) == 1:  # a plain range is two elements: its first address, and the first behind it
        after = (int.from_bytes(e.end, "big") + 1).to_bytes(len(e.end) + 1, "big")[-len(e.end) :]
        yield nest(1, nest(1, attr(1, after)), be32(3, _INTERVAL_END))
