"""The descriptors of every message, for `wire.kubeproto`: this package knows the numbers, that one the wire.

codec = kubeproto.Codec(protobuf.describe)
codec.encode("core.v1.Pod", pod)
"""

from __future__ import annotations

from functools import cache

from groundplane.kinds import schema
from groundplane.kinds.schema import Type

_LETTERS = {
    schema.STRING: "s",
    schema.BOOLEAN: "b",
    schema.NUMBER: "d",
    schema.BYTES: "y",
    schema.QUANTITY: "q",
    schema.INT_OR_STRING: "x",
    schema.TIME: "t",
    schema.MICRO_TIME: "u",
    schema.ANY: "r",
}
_UNIONS = {"schemaorarray": "A", "schemaorbool": "B", "schemaorstrings": "C"}
_SCHEMA = "apiextensions.v1.JSONSchemaProps"

# Fields whose message is not what their JSON type says.
_WRAPPED = {
    ("meta.v1.APIResource", "verbs"): "V",
    ("apiextensions.v1.CustomResourceSubresources", "status"): "E",
}


@cache
def describe(name: str) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """(json name, path of numbers, shape) of each field of the message behind a type. Raises KeyError."""
    type_ = schema.get_type(name)
    return tuple(
        (field.name, field.numbers, _WRAPPED.get((name, field.name)) or _shape(field.type))
        for field in type_.fields.values()
        if field.numbers
    )


def _shape(type_: Type) -> str:
    if type_.kind == schema.STRUCT:
        return f"@{type_.name}"
    if type_.kind == schema.INTEGER:
        return "i" if type_.format == "int32" else "l"
    if type_.element is not None:
        return ("[" if type_.kind == schema.LIST else "{") + _shape(type_.element)
    if type_.format in _UNIONS:
        return f"{_UNIONS[type_.format]}@{_SCHEMA}"
    return _LETTERS[type_.kind]
