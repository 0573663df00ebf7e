"""From decoded JSON to the object that upstream's decoder and encoder would make of it.

What Go does on the way (sigs.k8s.io/json, a case-sensitive encoding/json; the generated structs of k8s.io/api):
unknown fields are dropped, null means absent, a value of the wrong type is an error that names the Go struct, zero
values that the struct does not keep are left out, structs held by value and fields that are not `omitempty` appear
even where nobody wrote them, quantities and times get their canonical form, fields come in the struct's order.

A reader is compiled per type on first use, because this runs on every write. It builds new dicts; lists and maps of
plain strings are taken over from the input, which the caller must not use afterwards.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from groundplane.base.clock import parse_rfc3339, rfc3339
from groundplane.base.errors import GroundError
from groundplane.kinds import quantities
from groundplane.kinds import schema as s
from groundplane.kinds.schema import Field, Type

Object = dict[str, Any]
Notes = list[str]
Reader = Callable[[Any, Notes], Any]


class KindDecodeError(GroundError):
    """The document does not fit the type; the message is upstream's."""


class TypeMismatch(KindDecodeError):
    """A JSON value of the wrong type: `json: cannot unmarshal string into Go struct field X.spec.y of type bool`."""

    def __init__(self, value: str, go_type: str) -> None:
        super().__init__()
        self.value = value
        self.go_type = go_type
        self.struct = ""
        self.path: list[str] = []

    def inside(self, struct: str, field: str) -> None:
        """Note on the way up which struct's field it was; the innermost struct is the one named."""
        self.struct = self.struct or struct
        self.path.insert(0, field)

    def __str__(self) -> str:
        if self.struct:
            where = f"Go struct field {self.struct}.{'.'.join(self.path)}"
            return f"json: cannot unmarshal {self.value} into {where} of type {self.go_type}"
        return f"json: cannot unmarshal {self.value} into Go value of type {self.go_type}"


def decode(type_: Type, data: Any) -> tuple[Object, list[str]]:
    """The canonical object, and a message for every field that the type does not have (`unknown field "spec.foo"`).

    Raises KindDecodeError, in upstream's words.
    """
    notes: Notes = []
    out: Object = _reader(type_)(data, notes)
    return out, list(unknown_fields(type_, data)) if notes else []


def zero(type_: Type) -> Any:
    """What the encoder shows of a struct that nobody filled: `{}`, or the fields that always show."""
    return _reader(type_)({}, [])


def unknown_fields(type_: Type, value: Any, path: str = "") -> Iterator[str]:
    """A message for every field of `value` that the type does not have, in the document's order."""
    if isinstance(value, list) and type_.element is not None:
        for index, item in enumerate(value):
            yield from unknown_fields(type_.element, item, f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    if type_.kind == s.MAP and type_.element is not None:
        for key, item in value.items():
            yield from unknown_fields(type_.element, item, f"{path}.{key}" if path else key)
    elif type_.kind == s.STRUCT:
        for key, item in value.items():
            here = f"{path}.{key}" if path else key
            field = type_.fields.get(key)
            if field is None:
                yield f'unknown field "{here}"'
            else:
                yield from unknown_fields(field.type, item, here)


def go_type(type_: Type) -> str:
    """The Go type that an error names: `int32`, `[]v1.Container`, `map[string]string`."""
    if type_.kind == s.LIST and type_.element is not None:
        return f"[]{go_type(type_.element)}"
    if type_.kind == s.MAP and type_.element is not None:
        return f"map[string]{go_type(type_.element)}"
    if type_.kind == s.STRUCT:
        return ".".join(type_.name.split(".")[-2:])
    if type_.kind in (s.INTEGER, s.NUMBER):
        return "float64" if type_.format == "double" else type_.format
    return {s.BOOLEAN: "bool", s.BYTES: "[]uint8"}.get(type_.kind, "string")


def mismatch(value: Any, type_: Type) -> TypeMismatch:
    """The error for a JSON value where the type wants another."""
    match value:
        case bool():
            word = "bool"
        case str():
            word = "string"
        case dict():
            word = "object"
        case list():
            word = "array"
        case float() | int() if type_.kind in (s.INTEGER, s.NUMBER, s.INT_OR_STRING):
            word = f"number {value}"
        case _:
            word = "number"
    return TypeMismatch(word, go_type(type_))


# ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _reader(type_: Type) -> Reader:
    if type_.kind == s.STRUCT:
        return _struct_reader(type_)
    if type_.kind == s.LIST:
        return _list_reader(type_)
    if type_.kind == s.MAP:
        return _map_reader(type_)
    return _scalar_reader(type_)


# What the encoder does with a field that has no value, and with one whose value is its type's zero.
_ABSENT = object()


def _struct_reader(type_: Type) -> Reader:
    plan: list[tuple[str, bool, Reader | None, bool, Any]] = []

    def read(value: Any, notes: Notes) -> Object:
        if not plan:  # filled late, because a type may contain itself
            plan.extend(_plan(field) for field in type_.fields.values())
        if value.__class__ is not dict:
            raise mismatch(value, type_)
        out: Object = {}
        seen = 0
        get = value.get
        name = ""
        try:
            for name, is_string, reader, keeps_zero, absent in plan:
                item = get(name)
                if item is None:
                    if absent is not _ABSENT:
                        out[name] = absent(None, notes) if callable(absent) else absent
                    continue
                seen += 1
                if is_string:
                    if item.__class__ is not str:
                        raise mismatch(item, _STRING)
                elif reader is not None:
                    item = reader(item, notes)
                if item or keeps_zero:
                    out[name] = item
        except TypeMismatch as error:
            error.inside(type_.short_name, name)
            raise
        if seen != len(value):
            notes.append(type_.name)  # an unknown field, or a null: the slow path looks which
        return out

    return read


def _plan(field: Field) -> tuple[str, bool, Reader | None, bool, Any]:
    kind = field.kind
    is_string = kind == s.STRING
    reader = None if is_string or kind == s.ANY else _reader(field.type)
    # a pointer keeps its zero; so do structs, and anything that is not omitempty; times and quantities are not zero
    keeps_zero = (
        not field.omitempty
        or (field.pointer and kind not in (s.LIST, s.MAP))
        or kind in (s.STRUCT, s.INT_OR_STRING, s.ANY)
    )
    return field.name, is_string, reader, keeps_zero, _when_absent(field)


def _when_absent(field: Field) -> Any:
    """What Go's encoder writes for a field nobody set: nothing, or (not omitempty, or a struct by value) its zero."""
    if field.pointer:
        return _ABSENT if field.omitempty else None
    match field.kind:
        case s.STRUCT:
            reader = _reader(field.type)
            return lambda _value, notes: reader({}, notes)
        case s.TIME | s.MICRO_TIME | s.ANY:
            return None
        case s.QUANTITY:
            return "0"
        case s.INT_OR_STRING:
            return 0
    if field.omitempty:
        return _ABSENT
    return {s.STRING: "", s.INTEGER: 0, s.NUMBER: 0, s.BOOLEAN: False}.get(field.kind)


def _list_reader(type_: Type) -> Reader:
    element = type_.element
    assert element is not None
    reader = _reader(element)
    plain = element.kind == s.STRING

    def read(value: Any, notes: Notes) -> list[Any]:
        if value.__class__ is not list:
            raise mismatch(value, type_)
        if plain:
            for item in value:
                if item.__class__ is not str:
                    return [reader(item, notes) for item in value]
            return value
        return [reader(item, notes) for item in value]

    return read


def _map_reader(type_: Type) -> Reader:
    element = type_.element
    assert element is not None
    reader = _reader(element)
    plain = element.kind == s.STRING

    def read(value: Any, notes: Notes) -> Object:
        if value.__class__ is not dict:
            raise mismatch(value, type_)
        if plain:
            for item in value.values():
                if item.__class__ is not str:
                    return {key: reader(item, notes) for key, item in value.items()}
            return value
        return {key: reader(item, notes) for key, item in value.items()}

    return read


_STRING = Type(s.STRING)


def _scalar_reader(type_: Type) -> Reader:
    kind = type_.kind
    if kind == s.INTEGER:
        return _integer_reader(type_)
    return {
        s.STRING: lambda value, notes: _of_class(value, str, "", type_),
        s.BOOLEAN: lambda value, notes: _of_class(value, bool, False, type_),
        s.NUMBER: _read_number,
        s.BYTES: _read_bytes,
        s.QUANTITY: _read_quantity,
        s.INT_OR_STRING: _read_int_or_string,
        s.TIME: _read_time,
        s.MICRO_TIME: _read_micro_time,
    }.get(kind, lambda value, notes: value)


def _of_class(value: Any, wanted: type, zero: Any, type_: Type) -> Any:
    if value.__class__ is wanted:
        return value
    if value is None:  # an element of a list or map; a null field never gets here
        return zero
    raise mismatch(value, type_)


def _integer_reader(type_: Type) -> Reader:
    bound = 1 << (31 if type_.format == "int32" else 63)

    def read(value: Any, notes: Notes) -> int:
        if value.__class__ is int and -bound <= value < bound:
            return value
        if value is None:
            return 0
        raise mismatch(value, type_)

    return read


def _read_number(value: Any, notes: Notes) -> Any:
    if value.__class__ is float or value.__class__ is int:
        return value
    if value is None:
        return 0
    raise mismatch(value, Type(s.NUMBER, format="double"))


def _read_bytes(value: Any, notes: Notes) -> str | None:
    if value.__class__ is not str:
        if value is None:
            return None
        raise mismatch(value, Type(s.BYTES))
    text: str = value
    if "\n" in text or "\r" in text:  # encoding/base64 skips line ends
        text = text.replace("\n", "").replace("\r", "")
    try:
        binascii.a2b_base64(text.encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise KindDecodeError(f"illegal base64 data at input byte {_first_bad_byte(text)}") from None
    return text


_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def _first_bad_byte(text: str) -> int:
    """Where encoding/base64 gives up: at the first foreign byte, or at the end where the last group is short."""
    whole = text.rstrip("=") if len(text) % 4 == 0 else text
    found = _NOT_BASE64.search(whole)
    return found.start() if found else len(text)


def _read_quantity(value: Any, notes: Notes) -> str:
    if value.__class__ is str:
        try:
            return quantities.canonical(value)
        except quantities.QuantityError as error:
            raise KindDecodeError(str(error)) from error
    if value is None:
        return "0"
    try:
        return str(quantities.parse(value))
    except quantities.QuantityError as error:
        raise KindDecodeError(str(error)) from error


def _read_int_or_string(value: Any, notes: Notes) -> int | str:
    if value.__class__ is str:
        return value
    if value.__class__ is int and -(1 << 31) <= value < 1 << 31:
        return value
    if value is None:
        return 0
    error = mismatch(value, Type(s.INT_OR_STRING))
    # IntOrString decodes by itself, so that the message names no field; KindDecodeError keeps it from gaining one
    raise KindDecodeError(f"json: cannot unmarshal {error.value} into Go value of type int32")


_TIME = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
_MICRO = re.compile(r"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6})Z")
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


def _read_time(value: Any, notes: Notes) -> str | None:
    if value.__class__ is str:
        if _TIME.fullmatch(value):
            return value
        try:
            return rfc3339(parse_rfc3339(value))
        except (ValueError, OverflowError):
            raise KindDecodeError(_bad_time(value, _LAYOUT)) from None
    if value is None:
        return None
    raise KindDecodeError(str(TypeMismatch(mismatch(value, _STRING).value, "string")))


def _read_micro_time(value: Any, notes: Notes) -> str | None:
    if value.__class__ is str:
        if _MICRO.fullmatch(value):
            return value
        head, dot, rest = value.partition(".")
        try:
            if not dot or len(rest) < 7 or not rest[:6].isdigit() or rest[6].isdigit():
                raise ValueError
            return f"{rfc3339(parse_rfc3339(head + rest[6:]))[:-1]}.{rest[:6]}Z"
        except (ValueError, OverflowError):
            raise KindDecodeError(_bad_time(value, _MICRO_LAYOUT)) from None
    if value is None:
        return None
    raise KindDecodeError(str(TypeMismatch(mismatch(value, _STRING).value, "string")))


def _bad_time(text: str, layout: str) -> str:
    """time.ParseError's sentence: which part of the layout the rest of the text failed to match."""
    parts = re.findall(r"2006|01|02|15|04|05|\.000000|Z07:00|[-T:]", layout)
    rest = text
    for part in parts:
        width = len(part) if part != "Z07:00" else len(rest)
        piece = rest[:width]
        fits = piece == part if part in "-T:" else len(piece) == width and piece.lstrip(".").isdigit()
        if part == "Z07:00" or not fits:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"'
        rest = rest[width:]
    return f'parsing time "{text}": extra text: "{rest}"'
