"""The schema pack as JSON schemas, in the dialects of OpenAPI 2 and 3 and with Kubernetes' extensions.

Extensions: x-kubernetes-{group-version-kind, list-type, list-map-keys, map-type, patch-strategy, patch-merge-key}
(kubernetes.io, "Server-Side Apply", merge strategy).
"""

from __future__ import annotations

from typing import Any

from groundplane.base import jsonyaml
from groundplane.kinds import schema as s
from groundplane.kinds.schema import Field, Type

Schema = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_EXTENSIONS_JSON = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
_FIXED: dict[str, Schema] = {
    _QUANTITY: {"type": "string"},
    _INT_OR_STRING: {"type": "string", "format": "int-or-string"},
    _META + "Time": {"type": "string", "format": "date-time"},
    _META + "MicroTime": {"type": "string", "format": "date-time"},
    _EXTENSIONS_JSON: {},
}
# OpenAPI 2 has no way to say this, and calls it a string.
_EITHER: Schema = {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
_NAMED = {
    s.QUANTITY: _QUANTITY,
    s.INT_OR_STRING: _INT_OR_STRING,
    s.TIME: _META + "Time",
    s.MICRO_TIME: _META + "MicroTime",
}


class Schemas:
    """All definitions of one dialect. `version` is 2 or 3; `texts` are definitions with descriptions."""

    def __init__(self, version: int, texts: dict[str, Any]) -> None:
        self._version = version
        self._texts = texts
        self._root = "#/definitions/" if version == 2 else "#/components/schemas/"
        self._kinds: dict[str, list[tuple[str, str, str]]] = {}
        for gvk, name in s.kinds().items():
            self._kinds.setdefault(name, []).append(gvk)

    def definitions(self, names: list[str]) -> dict[str, Schema]:
        """The definitions of these types (pack names) and of all that they refer to, by full name, sorted."""
        made: dict[str, Schema] = {}
        waiting = [s.get_type(n) for n in names]
        while waiting:
            type_ = waiting.pop()
            if type_.full_name in made:
                continue
            made[type_.full_name] = self._definition(type_)
            waiting += [t for f in type_.fields.values() if (t := _struct(f.type)) is not None]
        fixed = {n: self._told(n, dict(v)) for n, v in _FIXED.items()}
        if self._version == 3:
            fixed[_INT_OR_STRING] = self._told(_INT_OR_STRING, dict(_EITHER))
        return dict(sorted({**made, **fixed}.items()))

    def ref(self, full_name: str) -> Schema:
        return {"$ref": self._root + full_name}

    def _told(self, name: str, schema: Schema) -> Schema:
        text = (self._texts.get(name) or {}).get("description")
        return {"description": text, **schema} if text else schema

    def _definition(self, type_: Type) -> Schema:
        schema: Schema = {"type": "object"}
        if type_.fields:
            known = (self._texts.get(type_.full_name) or {}).get("properties") or {}
            schema["properties"] = {
                name: self._property(field, (known.get(name) or {}).get("description", ""))
                for name, field in sorted(type_.fields.items())
            }
        if required := sorted(f.name for f in type_.fields.values() if f.required):
            schema["required"] = required
        if type_.atomic:
            schema["x-kubernetes-map-type"] = "atomic"
        if kinds := self._kinds.get(type_.name):
            schema["x-kubernetes-group-version-kind"] = [
                {"group": group, "kind": kind, "version": version} for group, version, kind in kinds
            ]
        return self._told(type_.full_name, schema)

    def _property(self, field: Field, text: str) -> Schema:
        schema = self._shape(field.type)
        if self._version == 3:
            default = _default(field)
            # kubectl explain names the type of what is wrapped, and shows what a bare reference leads to.
            if "$ref" in schema and (text or default is not None or field.type.kind in _NAMED):
                schema = {"allOf": [schema]}
            if default is not None:
                schema["default"] = default
        elif "$ref" in schema and text:
            pass  # a description beside a $ref is what OpenAPI 2 clients show
        if text:
            schema = {"description": text, **schema}
        if field.enum:
            schema["enum"] = list(field.enum)
        if field.strategies:
            schema["x-kubernetes-patch-strategy"] = ",".join(field.strategies)
        if field.merge_key:
            schema["x-kubernetes-patch-merge-key"] = field.merge_key
        if field.type.list_type:
            schema["x-kubernetes-list-type"] = field.type.list_type
        if field.type.list_keys:
            schema["x-kubernetes-list-map-keys"] = list(field.type.list_keys)
        if field.type.atomic and field.type.kind in (s.MAP, s.STRUCT):
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def _shape(self, type_: Type) -> Schema:
        kind = type_.kind
        if kind == s.STRUCT:
            return self.ref(type_.full_name)
        if kind in (s.LIST, s.MAP):
            assert type_.element is not None
            inner = self._shape(type_.element)
            return (
                {"type": "array", "items": inner}
                if kind == s.LIST
                else {"type": "object", "additionalProperties": inner}
            )
        if kind in _NAMED:
            return self.ref(_NAMED[kind])
        return _scalar(type_)


def _scalar(type_: Type) -> Schema:
    if type_.kind == s.STRING:
        return {"type": "string"}
    if type_.kind == s.BYTES:
        return {"type": "string", "format": "byte"}
    if type_.kind == s.BOOLEAN:
        return {"type": "boolean"}
    if type_.kind == s.INTEGER:
        return {"type": "integer", "format": type_.format or "int32"}
    if type_.kind == s.NUMBER:
        return {"type": "number", "format": "double"}
    return {"type": "object"} if not type_.format else {}


def _struct(type_: Type) -> Type | None:
    while type_.element is not None:
        type_ = type_.element
    return type_ if type_.kind == s.STRUCT else None


def _default(field: Field) -> Any:
    """The declared default; required scalars and structs by value have their zero, as upstream's generator says."""
    if field.default:
        try:
            return jsonyaml.loads(field.default)
        except jsonyaml.DecodeError:
            return field.default
    return {} if field.value_struct else None
