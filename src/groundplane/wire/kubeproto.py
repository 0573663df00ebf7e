"""Kubernetes protobuf: objects as Go clients send them, told by descriptors what is in a message.

    body   = "k8s\\0" + Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw = the object's own message}
    frame  = four bytes of length, big endian, + WatchEvent{1: type, 2: RawExtension{1: raw = a body}}

(k8s.io/apimachinery pkg/runtime/generated.proto, serializer/protobuf, util/framer; encoding: protobuf.dev "Encoding".)

A descriptor is a sequence of `(json name, path, shape)`. `path` has the field's number, preceded by the numbers of the
messages that Go embeds around it. `shape` is one of the letters of `_SCALARS`, `@name` for a message, `[shape` for a
repeated field, `{shape` for a map with string keys, or one of the special messages: `q` Quantity, `x` IntOrString, `t`
Time, `u` MicroTime, `r` raw JSON, `V` a list wrapped in a message, `E` an empty message, and `A@name`, `B@name`,
`C@name`: a schema or an array of it, a boolean, a list of strings.

JSON values are as the API has them: quantities and times as text, bytes as base64. Decoding gives every value that is
on the wire, zeros too; the caller's decoder makes the object canonical.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from groundplane.base.clock import parse_rfc3339, rfc3339
from groundplane.base.errors import GroundError
from groundplane.base.jsonyaml import DecodeError as JsonError
from groundplane.base.jsonyaml import dumps, loads

Descriptor = Sequence[tuple[str, Sequence[int], str]]
Lookup = Callable[[str], Descriptor]
Object = dict[str, Any]

MAGIC = b"k8s\x00"
_DEPTH = 64
_SCALARS = "silbdy"  # string, int32, int64, bool, double, bytes


class DecodeError(GroundError):
    """The bytes are not a message of this kind."""


class EncodeError(GroundError):
    """The object does not fit its descriptor."""


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are ten bytes of two's complement
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of every field: an integer for types 0, 1, 5, bytes for 2. Raises DecodeError."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0 or number >= 1 << 29:
            raise DecodeError(f"protobuf: field number {number} is not valid")
        value: Any
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind == 2:
            size, at = _read_varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, at = int.from_bytes(data[at : at + width], "little"), at + width
        else:
            raise DecodeError(f"protobuf: wire type {kind} of field {number} is not supported")
        if at > end:
            raise DecodeError(f"protobuf: field {number} is cut off")
        yield number, kind, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise DecodeError("protobuf: a number is cut off or longer than ten bytes")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & (1 << 64) - 1, at
        shift += 7


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise DecodeError("protobuf: text expected, a number found")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("protobuf: text is not UTF-8") from error


def _payload(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise DecodeError("protobuf: a message expected, a number found")
    return value


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Codec:
    """Encodes and decodes messages whose descriptors `lookup` knows by name; tables are made once per message."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._tables: dict[str, dict[int, Any]] = {}

    # Encoding: what is absent or null is not written.

    def encode(self, name: str, value: Object) -> bytes:
        """The message `name` of a JSON object. Raises EncodeError."""
        try:
            return self._message(name, value)
        except (TypeError, AttributeError, ValueError, KeyError, struct.error, JsonError) as error:
            raise EncodeError(f"protobuf: {name}: {error}") from error

    def _message(self, name: str, value: Object) -> bytes:
        out: list[bytes] = []
        embedded: dict[tuple[int, ...], list[bytes]] = {}
        for field, path, shape in self._lookup(name):
            item = value.get(field)
            if item is None or not path:
                continue
            piece = self._field(path[-1], shape, item)
            if len(path) == 1:
                out.append(piece)
            else:
                embedded.setdefault(tuple(path[:-1]), []).append(piece)
        for outer in sorted(embedded, key=len, reverse=True):
            payload = b"".join(embedded[outer])
            for number in reversed(outer):
                payload = _delimited(number, payload)
            out.append(payload)
        return b"".join(out)

    def _field(self, number: int, shape: str, value: Any) -> bytes:
        first = shape[0]
        if first == "[":
            return b"".join(self._field(number, shape[1:], item) for item in value)
        if first == "{":
            inner = "V" if shape[1] == "[" else shape[1:]
            return b"".join(
                _delimited(
                    number, _delimited(1, key.encode()) + (self._field(2, inner, item) if item is not None else b"")
                )
                for key, item in value.items()
            )
        if first == "s":
            return _delimited(number, value.encode())
        if first in "il":
            return _number(number, int(value))
        if first == "b":
            return _number(number, int(bool(value)))
        if first == "d":
            return _varint(number << 3 | 1) + struct.pack("<d", value)
        if first == "y":
            return _delimited(number, base64.b64decode(value))
        if first == "@":
            return _delimited(number, self._message(shape[1:], value or {}))
        return _delimited(number, self._special(first, shape[2:], value))

    def _special(self, letter: str, name: str, value: Any) -> bytes:
        match letter:
            case "q":
                return _delimited(1, str(value).encode())
            case "x" if isinstance(value, str):
                return _number(1, 1) + _number(2, 0) + _delimited(3, value.encode())
            case "x":
                return _number(1, 0) + _number(2, value) + _delimited(3, b"")
            case "t" | "u":
                seconds, nanos = _split_time(value)
                return _number(1, seconds) + _number(2, nanos)
            case "r":
                return _delimited(1, dumps(value))
            case "V":
                return self._field(1, "[s", value)
            case "A" if isinstance(value, list):
                return self._field(2, f"[@{name}", value)
            case "A" | "C" if isinstance(value, dict):
                return self._field(1, f"@{name}", value)
            case "B" if isinstance(value, bool):
                return _number(1, int(value))
            case "B":
                return _number(1, 1) + self._field(2, f"@{name}", value)
            case "C":
                return self._field(2, "[s", value)
        return b""  # E: an empty message

    # Decoding.

    def decode(self, name: str, data: bytes) -> Object:
        """The JSON object of a message. Raises DecodeError."""
        out: Object = {}
        self._into(out, self._table(name), data, _DEPTH)
        return out

    def _table(self, name: str) -> dict[int, Any]:
        """Number → (json name, shape), or → the table of an embedded message."""
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = {}
            for field, path, shape in self._lookup(name):
                if path:
                    level = table
                    for number in path[:-1]:
                        level = level.setdefault(number, {})
                    level[path[-1]] = (field, shape)
        return table

    def _into(self, out: Object, table: dict[int, Any], data: bytes, depth: int) -> None:
        if not depth:
            raise DecodeError("protobuf: messages are nested too deeply")
        for number, _kind, value in fields(data):
            known = table.get(number)
            if known is None:
                continue  # a newer client's field
            if isinstance(known, dict):
                self._into(out, known, _payload(value), depth)
                continue
            field, shape = known
            if shape[0] == "[":
                self._append(out.setdefault(field, []), shape[1:], value, depth)
            elif shape[0] == "{":
                self._entry(out.setdefault(field, {}), shape[1:], _payload(value), depth)
            else:
                out[field] = self._value(shape, value, depth)

    def _append(self, items: list[Any], shape: str, value: Any, depth: int) -> None:
        if shape in ("i", "l", "b") and isinstance(value, bytes):  # packed, as proto3 writers may
            at = 0
            while at < len(value):
                number, at = _read_varint(value, at)
                items.append(self._value(shape, number, depth))
        else:
            items.append(self._value(shape, value, depth))

    def _entry(self, items: Object, shape: str, data: bytes, depth: int) -> None:
        key, found = "", b""
        seen = False
        for number, _kind, value in fields(data):
            if number == 1:
                key = _text(value)
            elif number == 2:
                found, seen = value, True
        inner = "V" if shape[0] == "[" else shape
        items[key] = self._value(inner, found, depth) if seen else self._empty(inner, depth)

    def _empty(self, shape: str, depth: int) -> Any:
        return self._value(shape, 0 if shape in ("i", "l", "b", "d") else b"", depth)

    def _value(self, shape: str, value: Any, depth: int) -> Any:
        first = shape[0]
        if first == "s":
            return _text(value)
        if first == "@":
            out: Object = {}
            self._into(out, self._table(shape[1:]), _payload(value), depth - 1)
            return out
        if first in "ilbd":
            if isinstance(value, bytes):
                raise DecodeError("protobuf: a number expected, bytes found")
            if first == "b":
                return value != 0
            if first == "d":
                return struct.unpack("<d", value.to_bytes(8, "little"))[0]
            return _signed(value, 32 if first == "i" else 64)
        if first == "y":
            return base64.b64encode(_payload(value)).decode()
        return self._read_special(first, shape[2:], _payload(value), depth)

    def _read_special(self, letter: str, name: str, data: bytes, depth: int) -> Any:
        parts: dict[int, Any] = {}
        lists: dict[int, list[Any]] = {}
        for number, _kind, value in fields(data):
            parts[number] = value
            lists.setdefault(number, []).append(value)
        match letter:
            case "q":
                return _text(parts.get(1, b""))
            case "x":
                if parts.get(1, 0) == 1:
                    return _text(parts.get(3, b""))
                return self._value("i", parts.get(2, 0), depth)
            case "t" | "u":
                return _join_time(parts, letter) if data else None
            case "r":
                return _raw(_payload(parts.get(1, b"")))
            case "V":
                return [_text(item) for item in lists.get(1, ())]
            case "A" if 2 in parts:
                return [self._value(f"@{name}", item, depth) for item in lists[2]]
            case "A":
                return self._value(f"@{name}", parts.get(1, b""), depth)
            case "B":
                return self._value(f"@{name}", parts[2], depth) if 2 in parts else self._value("b", parts.get(1, 0), 1)
            case "C" if 2 in parts:
                return [_text(item) for item in lists[2]]
            case "C":
                return self._value(f"@{name}", parts.get(1, b""), depth)
        return {}  # E: an empty message


def _split_time(value: str) -> tuple[int, int]:
    head, dot, rest = value.partition(".")
    fraction = rest.rstrip("Zz") if dot else ""
    return int(parse_rfc3339(head + "Z" if dot else value)), int(fraction.ljust(9, "0")[:9]) if fraction else 0


def _join_time(parts: dict[int, Any], letter: str) -> str:
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if isinstance(seconds, bytes) or isinstance(nanos, bytes):
        raise DecodeError("protobuf: a time has numbers")
    try:
        text = rfc3339(_signed(seconds, 64))
    except (ValueError, OverflowError, OSError) as error:
        raise DecodeError("protobuf: a time is out of range") from error
    if letter == "t":
        return text
    return f"{text[:-1]}.{_signed(nanos, 32) // 1000 % 1_000_000:06d}Z"


def _raw(data: bytes) -> Any:
    if not data:
        return None
    if data.startswith(MAGIC):
        raise DecodeError("protobuf: an embedded object must be JSON")
    try:
        return loads(data)
    except JsonError as error:
        raise DecodeError(f"protobuf: an embedded object is {error}") from error


# ── bodies and frames ────────────────────────────────────────────────────────────────────────────────────────────────


def wrap(api_version: str, kind: str, message: bytes) -> bytes:
    """A request's or answer's body around an object's message."""
    meta = _delimited(1, api_version.encode()) + _delimited(2, kind.encode())
    return MAGIC + _delimited(1, meta) + _delimited(2, message) + _delimited(3, b"") + _delimited(4, b"")


def unwrap(body: bytes) -> tuple[str, str, bytes]:
    """(apiVersion, kind, the object's message) of a body. Raises DecodeError."""
    if not body.startswith(MAGIC):
        raise DecodeError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    message = b""
    for number, _kind, value in fields(body[len(MAGIC) :]):
        if number == 1:
            for inner, _inner_kind, text in fields(_payload(value)):
                if inner == 1:
                    api_version = _text(text)
                elif inner == 2:
                    kind = _text(text)
        elif number == 2:
            message = _payload(value)
    return api_version, kind, message


def frame(event: str, body: bytes) -> bytes:
    """One watch event; `body` is the object's own body, with its envelope."""
    message = _delimited(1, event.encode()) + _delimited(2, _delimited(1, body))
    return len(message).to_bytes(4, "big") + message


def unframe(buffer: bytearray) -> list[tuple[str, bytes]]:
    """The (event, body) pairs that are whole in `buffer`, which loses them. Raises DecodeError."""
    found: list[tuple[str, bytes]] = []
    while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
        event, body = "", b""
        for number, _kind, value in fields(bytes(buffer[4 : 4 + size])):
            if number == 1:
                event = _text(value)
            elif number == 2:
                for inner, _inner_kind, raw in fields(_payload(value)):
                    if inner == 1:
                        body = _payload(raw)
        del buffer[: 4 + size]
        found.append((event, body))
    return found
