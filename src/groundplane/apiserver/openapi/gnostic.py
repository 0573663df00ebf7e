"""An OpenAPI 2 document as the protobuf that kubectl asks for: message openapi.v2.Document of google/gnostic.

Only the fields that our documents have are written; numbers are those of gnostic's OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groundplane.base import jsonyaml

Document = dict[str, Any]

# PathItem's operations.
_OPERATIONS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def encode(document: Document) -> bytes:
    """The whole document."""
    info = document["info"]
    return b"".join(
        [
            _text(1, document["swagger"]),
            _bytes(2, _text(1, info["title"]) + _text(2, info["version"])),
            _bytes(8, b"".join(_bytes(2, _named(p, _path_item(i))) for p, i in document["paths"].items())),
            _bytes(9, b"".join(_bytes(1, _named(n, _schema(s))) for n, s in document["definitions"].items())),
        ]
    )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode()) if text else b""


def _true(number: int, value: Any) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(name: str, value: bytes) -> bytes:
    """NamedSchema, NamedPathItem, NamedAny …: name = 1, value = 2."""
    return _text(1, name) + _bytes(2, value)


def _any(value: Any) -> bytes:
    """Any: its value as YAML text (JSON is YAML)."""
    return _text(2, jsonyaml.dumps(value).decode() + "\n")


def _extensions(number: int, obj: Document) -> Iterator[bytes]:
    for key, value in obj.items():
        if key.startswith("x-"):
            yield _bytes(number, _named(key, _any(value)))


def _schema(schema: Document) -> bytes:
    out = [
        _text(1, schema.get("$ref", "")),
        _text(2, schema.get("format", "")),
        _text(4, schema.get("description", "")),
    ]
    out += [_text(19, name) for name in schema.get("required") or ()]
    out += [_bytes(20, _any(value)) for value in schema.get("enum") or ()]
    if "additionalProperties" in schema:
        out.append(_bytes(21, _bytes(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        out.append(_bytes(22, _text(1, schema["type"])))
    if "items" in schema:
        out.append(_bytes(23, _bytes(1, _schema(schema["items"]))))
    if "properties" in schema:
        properties = b"".join(_bytes(1, _named(n, _schema(p))) for n, p in schema["properties"].items())
        out.append(_bytes(25, properties))
    out += _extensions(31, schema)
    return b"".join(out)


def _path_item(item: Document) -> bytes:
    out = [_bytes(_OPERATIONS[m], _operation(o)) for m, o in item.items() if m in _OPERATIONS]
    out += [_bytes(9, _parameter(p)) for p in item.get("parameters") or ()]
    return b"".join(out)


def _operation(operation: Document) -> bytes:
    out = [_text(1, tag) for tag in operation["tags"]]
    out.append(_text(5, operation["operationId"]))
    out += [_bytes(8, _parameter(p)) for p in operation["parameters"]]
    answers = b"".join(
        _bytes(1, _named(code, _bytes(1, _text(1, answer["description"]))))
        for code, answer in operation["responses"].items()
    )
    out.append(_bytes(9, answers))
    out += _extensions(13, operation)
    return b"".join(out)


def _parameter(parameter: Document) -> bytes:
    """ParametersItem ▸ parameter ▸ non-body ▸ query (3) or path (4); they differ in where `type` stands."""
    query = parameter["in"] == "query"
    type_, unique = (6, 20) if query else (5, 19)
    body = b"".join(
        [
            _true(1, parameter.get("required")),
            _text(2, parameter["in"]),
            _text(4, parameter["name"]),
            _text(type_, parameter["type"]),
            _true(unique, parameter.get("uniqueItems")),
        ]
    )
    return _bytes(1, _bytes(2, _bytes(3 if query else 4, body)))
