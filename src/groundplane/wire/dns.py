"""DNS messages (RFC 1035, EDNS by RFC 6891): bytes to values and back, without I/O.

A name is a tuple of labels, each any bytes of 1 to 63; names compare without case (`fold`). Resource data are kept as
bytes in which embedded names are written out in full, so that a record can be moved from one message to another.
`decode` trusts nothing: pointers lead backwards and are few, names end at 255 bytes, counts at the end of the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import NamedTuple

from groundplane.base.errors import GroundError

Name = tuple[bytes, ...]

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT, AXFR, ANY = 1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 252, 255
IN = 1
QUERY = 0
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED, REFUSED, BAD_VERSION = 0, 1, 2, 3, 4, 5, 16

_HEAD = struct.Struct(">HHHHHH")
_QUESTION = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_U16 = struct.Struct(">H")
_PLAIN_UDP = 512  # RFC 1035 4.2.1
_POINTER = 0xC0
_MOST_HOPS = 127  # a name has no more labels: without it, a message of pointers costs its length squared


class DnsFormatError(GroundError):
    """The bytes are not a DNS message."""


class Question(NamedTuple):
    name: Name
    type: int
    cls: int = IN


class Record(NamedTuple):
    name: Name
    type: int
    ttl: int
    data: bytes
    cls: int = IN


class Edns(NamedTuple):
    """What an OPT record says: how large an answer may be, the version, whether DNSSEC records are wanted."""

    size: int
    version: int = 0
    dnssec: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    response: bool = False
    opcode: int = QUERY
    authoritative: bool = False
    truncated: bool = False
    recursion_desired: bool = False
    recursion_available: bool = False
    code: int = NO_ERROR
    edns: Edns | None = None


def name(text: str) -> Name:
    """`a.b.` or `a.b` as labels."""
    return tuple(label.encode() for label in text.rstrip(".").split(".") if label)


def show(labels: Name) -> str:
    """Labels as text with a final dot, unprintable bytes escaped as `\\DDD`."""
    escaped = (
        "".join(chr(b) if 0x21 <= b <= 0x7E and b not in b".\\" else f"\\{b:03d}" for b in label) for label in labels
    )
    return ".".join(escaped) + "."


def fold(labels: Name) -> Name:
    """The form in which names are compared."""
    return tuple(label.lower() for label in labels)


def pack_name(labels: Name) -> bytes:
    """Without compression. Raises DnsFormatError where a label or the whole is too long."""
    out = b""
    for label in labels:
        if not 0 < len(label) < 64:
            raise DnsFormatError(f"a label of {len(label)} bytes in {show(labels)}")
        out += bytes((len(label),)) + label
    if len(out) > 254:
        raise DnsFormatError(f"a name of {len(out)} bytes")
    return out + b"\0"


def soa(primary: Name, contact: Name, serial: int, minimum: int) -> bytes:
    times = struct.pack(">IIIII", serial, 7200, 1800, 86400, minimum)
    return pack_name(primary) + pack_name(contact) + times


def srv(priority: int, weight: int, port: int, target: Name) -> bytes:
    return struct.pack(">HHH", priority, weight, port) + pack_name(target)


def txt(text: str) -> bytes:
    data = text.encode()[:255]
    return bytes((len(data),)) + data


def reply(query: Message, **changes: object) -> Message:
    """An answer to a query: same id and question, and EDNS where the query had it."""
    made = Message(
        id=query.id,
        questions=query.questions,
        response=True,
        opcode=query.opcode,
        recursion_desired=query.recursion_desired,
        recursion_available=True,
        edns=Edns(1232) if query.edns is not None else None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def udp_limit(query: Message) -> int:
    """The largest datagram that the asker takes; never above 1232, so that it is not fragmented (DNS flag day 2020)."""
    return max(_PLAIN_UDP, min(query.edns.size, 1232)) if query.edns is not None else _PLAIN_UDP


# Writing


def encode(message: Message, limit: int = 65535) -> bytes:
    """The message as bytes; one that is longer than `limit` keeps only its question and says that it is truncated."""
    data = _encode(message)
    if len(data) <= limit:
        return data
    return _encode(replace(message, answers=(), authority=(), additional=(), truncated=True))


def _encode(m: Message) -> bytes:
    known: dict[Name, int] = {}
    out = bytearray(12)
    for question in m.questions:
        _write_name(out, question.name, known)
        out += _QUESTION.pack(question.type, question.cls)
    for record in (*m.answers, *m.authority, *m.additional):
        _write_name(out, record.name, known)
        out += _RECORD.pack(record.type, record.cls, record.ttl, len(record.data)) + record.data
    if m.edns is not None:
        flags = (m.code >> 4) << 24 | m.edns.version << 16 | m.edns.dnssec << 15
        out += b"\0" + _RECORD.pack(OPT, m.edns.size, flags, 0)
    extra = len(m.additional) + (m.edns is not None)
    counts = len(m.questions), len(m.answers), len(m.authority), extra
    out[:12] = _HEAD.pack(m.id, _flags(m), *counts)
    return bytes(out)


def _flags(m: Message) -> int:
    bits = m.response << 15 | m.opcode << 11 | m.authoritative << 10 | m.truncated << 9
    return bits | m.recursion_desired << 8 | m.recursion_available << 7 | m.code & 15


def _write_name(out: bytearray, labels: Name, known: dict[Name, int]) -> None:
    """With compression: the longest tail that was written before becomes a pointer."""
    for i in range(len(labels)):
        tail = labels[i:]
        if (where := known.get(tail)) is not None:
            out += _U16.pack(_POINTER << 8 | where)
            return
        if len(out) < 0x4000:
            known[tail] = len(out)
        label = labels[i]
        if not 0 < len(label) < 64:
            raise DnsFormatError(f"a label of {len(label)} bytes in {show(labels)}")
        out += bytes((len(label),)) + label
    out += b"\0"


# Reading


def decode(data: bytes) -> Message:
    """Raises DnsFormatError, and nothing else, whatever the bytes are."""
    try:
        return _decode(data)
    except (struct.error, IndexError) as error:
        raise DnsFormatError(f"a DNS message that ends early ({len(data)} bytes)") from error


def _decode(data: bytes) -> Message:
    number, flags, questions, answers, authority, additional = _HEAD.unpack_from(data)
    offset = 12
    asked: list[Question] = []
    for _ in range(questions):
        labels, offset = _read_name(data, offset)
        kind, cls = _QUESTION.unpack_from(data, offset)
        asked.append(Question(labels, kind, cls))
        offset += 4
    sections: list[tuple[Record, ...]] = []
    for count in (answers, authority, additional):
        records: list[Record] = []
        for _ in range(count):
            record, offset = _read_record(data, offset)
            records.append(record)
        sections.append(tuple(records))
    edns, code = _edns(sections[2], flags & 15)
    return Message(
        id=number,
        questions=tuple(asked),
        answers=sections[0],
        authority=sections[1],
        additional=tuple(r for r in sections[2] if r.type != OPT),
        response=bool(flags >> 15),
        opcode=flags >> 11 & 15,
        authoritative=bool(flags >> 10 & 1),
        truncated=bool(flags >> 9 & 1),
        recursion_desired=bool(flags >> 8 & 1),
        recursion_available=bool(flags >> 7 & 1),
        code=code,
        edns=edns,
    )


def _edns(additional: tuple[Record, ...], code: int) -> tuple[Edns | None, int]:
    found = [r for r in additional if r.type == OPT]
    if not found:
        return None, code
    if len(found) > 1:  # RFC 6891 6.1.1
        raise DnsFormatError("a DNS message with two OPT records")
    record = found[0]
    return Edns(record.cls, record.ttl >> 16 & 255, bool(record.ttl >> 15 & 1)), code | (record.ttl >> 24) << 4


def _read_name(data: bytes, offset: int) -> tuple[Name, int]:
    """The name at `offset`, and the offset behind it."""
    labels: list[bytes] = []
    after = -1
    length = hops = 0
    limit = offset  # each pointer must lead before the place where the part in hand began: so there is no loop
    while True:
        size = data[offset]
        if size & _POINTER == _POINTER:
            target = _U16.unpack_from(data, offset)[0] & 0x3FFF
            if after < 0:
                after = offset + 2
            hops += 1
            if target >= limit or hops > _MOST_HOPS:
                raise DnsFormatError(f"a name pointer at {offset} that does not lead backwards, or one too many")
            offset = limit = target
            continue
        if size & _POINTER:
            raise DnsFormatError(f"a label of an unknown kind ({size:#x}) at {offset}")
        offset += 1
        if size == 0:
            return tuple(labels), after if after >= 0 else offset
        length += size + 1
        if length > 254 or offset + size > len(data):
            raise DnsFormatError(f"a name at {offset} that is too long")
        labels.append(data[offset : offset + size])
        offset += size


# How embedded names lie in resource data: bytes before the first name, and how many names follow.
_EMBEDDED = {NS: (0, 1), CNAME: (0, 1), PTR: (0, 1), MX: (2, 1), SRV: (6, 1), SOA: (0, 2)}


def _read_record(data: bytes, offset: int) -> tuple[Record, int]:
    labels, offset = _read_name(data, offset)
    kind, cls, ttl, size = _RECORD.unpack_from(data, offset)
    offset += 10
    end = offset + size
    if end > len(data):
        raise DnsFormatError(f"resource data of {size} bytes at {offset} of {len(data)}")
    if kind not in _EMBEDDED:
        return Record(labels, kind, ttl, data[offset:end], cls), end
    fixed, names = _EMBEDDED[kind]
    out = data[offset : offset + fixed]
    offset += fixed
    for _ in range(names):
        embedded, offset = _read_name(data, offset)
        out += pack_name(embedded)
    if offset > end:
        raise DnsFormatError(f"resource data at {end} that are longer than they say")
    return Record(labels, kind, ttl, out + data[offset:end], cls), end


def target_of(record: Record) -> Name:
    """The name in the data of a CNAME, PTR or NS record."""
    return _read_name(record.data, 0)[0]
