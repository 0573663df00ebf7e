"""The grammar of netlink attributes: length, type, payload, padding to four bytes (netlink(7), linux/netlink.h).

Numbers are in host order except where a family says otherwise (nf_tables is big-endian throughout).
"""

from __future__ import annotations

import struct

NESTED = 0x8000  # NLA_F_NESTED: required by strict checking since Linux 5.2
TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_HEAD = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_BE32 = struct.Struct(">I")
_BE64 = struct.Struct(">Q")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    size = len(payload)
    return _HEAD.pack(size + 4, kind) + payload + _PAD[size & 3]


def nest(kind: int, *members: bytes) -> bytes:
    """An attribute whose payload is attributes."""
    return attr(kind | NESTED, b"".join(members))


def u8(kind: int, value: int) -> bytes:
    return attr(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    return attr(kind, _U32.pack(value))


def be32(kind: int, value: int) -> bytes:
    return attr(kind, _BE32.pack(value))


def be64(kind: int, value: int) -> bytes:
    return attr(kind, _BE64.pack(value))


def text(kind: int, value: str) -> bytes:
    """A string with its terminating NUL, as the kernel's NLA_NUL_STRING wants it."""
    return attr(kind, value.encode() + b"\0")


def parse(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; of a repeated type the last one counts. Raises ValueError where lengths do not fit."""
    return dict(parse_list(data, offset))


def parse_list(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """Attributes in order, types without their flags. Raises ValueError where lengths do not fit."""
    found: list[tuple[int, bytes]] = []
    end = len(data)
    while offset + 4 <= end:
        size, kind = _HEAD.unpack_from(data, offset)
        if size < 4 or offset + size > end:
            raise ValueError(f"netlink attribute of {size} bytes at offset {offset} of {end}")
        found.append((kind & TYPE_MASK, data[offset + 4 : offset + size]))
        offset += size + 3 & ~3
    return found


def as_u32(payload: bytes) -> int:
    value: int = _U32.unpack_from(payload)[0]
    return value


def as_be32(payload: bytes) -> int:
    value: int = _BE32.unpack_from(payload)[0]
    return value


def as_text(payload: bytes) -> str:
    return payload.partition(b"\0")[0].decode()
