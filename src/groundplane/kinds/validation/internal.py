"""Objects as Go's internal types show them in messages: every field, under its Go name, in the struct's order.

Upstream validates internal objects, which have no JSON names; where a message quotes one, or shows how two differ, it
is `encoding/json` over those structs.
"""

from __future__ import annotations

import difflib
import json
from typing import Any

from groundplane.kinds import schema as s
from groundplane.kinds.schema import Field, Type

Object = dict[str, Any]

# metav1 types keep their JSON names: they are not internal.
_EXTERNAL = "meta.v1."
# Fields that the internal PodSpec has inside its SecurityContext, and ones it does not have.
_POD_SECURITY = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
_POD_DROPPED = ("serviceAccount", *_POD_SECURITY)


def shown(name: str, value: Object | None) -> Any:
    """A value of the type `name` (`core.v1.SecurityContext`) as Go's internal struct would be marshalled."""
    return None if value is None else _struct(s.get_type(name), value)


def difference(name: str, new: Object, old: Object) -> str:
    """A unified diff of two values, three lines of context (k8s.io/apimachinery/pkg/util/diff)."""
    before, after = (json.dumps(shown(name, value), indent=1).splitlines() for value in (old, new))
    lines = list(difflib.unified_diff(before, after, n=3, lineterm=""))[2:]
    return "\n".join(lines) + "\n" if lines else ""


def _struct(type_: Type, value: Object) -> Any:
    if type_.name.startswith(_EXTERNAL):
        return value
    if type_.name == "core.v1.PodSpec":
        return _pod_spec(type_, value)
    return {field.go_name: _field(field, value.get(field.name)) for field in type_.fields.values()}


def _pod_spec(type_: Type, value: Object) -> Any:
    out: Object = {}
    for field in type_.fields.values():
        if field.name == "securityContext":
            moved = {
                ("HostPID" if name == "hostPID" else "HostIPC" if name == "hostIPC" else name[0].upper() + name[1:]): (
                    value.get(name, None if type_.fields[name].pointer else False)
                )
                for name in _POD_SECURITY
            }
            context = value.get(field.name)
            out[field.go_name] = None if context is None else {**moved, **_struct(field.type, context)}
        elif field.name not in _POD_DROPPED:
            out[field.go_name] = _field(field, value.get(field.name))
    return out


def _field(field: Field, value: Any) -> Any:
    if value is None:
        return _zero(field)
    return _value(field.type, value)


def _value(type_: Type, value: Any) -> Any:
    if type_.kind == s.STRUCT:
        return _struct(type_, value)
    if type_.element is not None and type_.kind == s.LIST:
        return [_value(type_.element, item) for item in value]
    if type_.element is not None:
        return {key: _value(type_.element, item) for key, item in sorted(value.items())}
    return value


def _zero(field: Field) -> Any:
    if field.pointer:
        return None
    match field.kind:
        case s.STRUCT:
            return _struct(field.type, {})
        case s.STRING:
            return ""
        case s.INTEGER | s.NUMBER | s.INT_OR_STRING:
            return 0
        case s.BOOLEAN:
            return False
        case s.QUANTITY:
            return "0"
    return None
