"""Strategic merge patch: a merge patch that knows the lists' merge keys and a few directives.

Directives (k8s.io/apimachinery/pkg/util/strategicpatch; kubernetes.io, "Update API Objects in Place"):
    $patch: replace | delete | merge   on a map, or on one element of a list of maps
    $retainKeys: [k, …]                keep only these keys of the map (unions such as a Deployment's strategy)
    $deleteFromPrimitiveList/F: [v, …] remove values from the list of scalars F
    $setElementOrder/F: [e, …]         the order of the patched elements of F

The document given is never changed; untouched parts are shared with the result.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from groundplane.base import jsonyaml
from groundplane.base.errors import GroundError
from groundplane.kinds.schema import Field, Type

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"


class StrategicPatchError(GroundError):
    """The patch contradicts itself or the schema; the message is upstream's where there is one."""


def apply(node: Type, document: dict[str, Any], patch: Any) -> dict[str, Any]:
    """`document`, an object of schema `node`, with `patch` merged in. Raises StrategicPatchError."""
    if not isinstance(patch, dict):
        raise StrategicPatchError("invalid JSON document: a strategic merge patch must be an object")
    return _merge_map(node, document, patch)


def _merge_map(node: Type | None, original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if _PATCH in patch:
        return _directed_map(patch)
    result = _retained(original, patch)
    orders = {key[len(_ORDER_PREFIX) :]: value for key, value in patch.items() if key.startswith(_ORDER_PREFIX)}
    for key, value in patch.items():
        if key == _RETAIN or key.startswith(_ORDER_PREFIX):
            continue
        if key.startswith(_DELETE_PREFIX):
            name = key[len(_DELETE_PREFIX) :]
            if isinstance(result.get(name), list):
                gone = {_identity(v) for v in _list_of(key, value)}
                result[name] = [v for v in result[name] if _identity(v) not in gone]
        elif value is None:
            result.pop(key, None)
        elif key not in result or not _same_shape(result[key], value):
            result[key] = _without_directives(value)
        elif isinstance(value, dict):
            result[key] = _merge_field_map(node, key, result[key], value)
        elif isinstance(value, list):
            result[key] = _merge_field_list(node, key, result[key], value, orders.pop(key, None))
        else:
            result[key] = value
    for key, order in orders.items():
        if isinstance(result.get(key), list):
            result[key] = _in_order(result[key], _list_of(key, order), original.get(key) or [], _merge_key(node, key))
    return result


def _directed_map(patch: dict[str, Any]) -> dict[str, Any]:
    match patch[_PATCH]:
        case "replace":
            return {k: _without_directives(v) for k, v in patch.items() if v is not None and not k.startswith("$")}
        case "delete":
            return {}
    raise StrategicPatchError(f"unknown patch type found: {patch[_PATCH]}")


def _retained(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if _RETAIN not in patch:
        return dict(original)
    listed = _list_of(_RETAIN, patch[_RETAIN])
    if not all(isinstance(key, str) for key in listed):
        raise StrategicPatchError(f"invalid JSON document: {_RETAIN} must be a list of strings")
    keep = set(listed)
    if any(key not in keep and not key.startswith("$") for key in patch):
        raise StrategicPatchError("retainKeys list doesn't contain all keys in the patch")
    return {k: v for k, v in original.items() if k in keep}


def _same_shape(a: Any, b: Any) -> bool:
    return isinstance(a, (dict, list)) and a.__class__ is b.__class__


def _field(node: Type | None, key: str) -> tuple[Field | None, Type | None]:
    """What the schema says of `key`: the struct's field and its type, or a map's element type; nothing if untyped."""
    if node is None or node.kind == "any":
        return None, None
    if node.kind != "struct":
        return None, node.element
    field = node.fields.get(key)
    if field is None:
        raise StrategicPatchError(f'unable to find api field in struct {node.short_name} for the json field "{key}"')
    return field, field.type


def _merge_key(node: Type | None, key: str) -> str:
    field, _ = _field(node, key)
    return field.merge_key if field else ""


def _merge_field_map(node: Type | None, key: str, original: Any, patch: dict[str, Any]) -> Any:
    field, type_ = _field(node, key)
    if field is not None and "replace" in field.strategies:
        return _without_directives(patch)
    return _merge_map(type_, original, patch)


def _merge_field_list(node: Type | None, key: str, original: list[Any], patch: list[Any], order: Any) -> Any:
    field, type_ = _field(node, key)
    if field is None or type_ is None or "merge" not in field.strategies:
        return [_without_directives(item) for item in patch]
    if not any(isinstance(v, dict) for v in (*original, *patch)):
        both = [*original, *patch]
        merged = [both[at] for at in _places(both, "").values()]
        return _in_order(merged, patch if order is None else _list_of(key, order), original, "")
    return _merge_list_of_maps(type_.element, key, original, patch, field.merge_key, order)


def _merge_list_of_maps(
    element: Type | None, key: str, original: list[Any], patch: list[Any], merge_key: str, order: Any
) -> list[Any]:
    if not merge_key:
        raise StrategicPatchError(f"cannot merge lists without merge key for {key}")
    merged, rest, replaced = _special_elements(original, patch, merge_key)
    if replaced:
        return [_without_directives(item) for item in rest]
    places = _places(merged, merge_key)
    for item in rest:
        if not isinstance(item, dict) or merge_key not in item:
            raise StrategicPatchError(f"map: {item} does not contain declared merge key: {merge_key}")
        at = places.setdefault(_identity(item, merge_key), len(merged))
        if at == len(merged):
            merged.append(_without_directives(item))
        else:
            merged[at] = _merge_map(element, merged[at], item)
    return _in_order(merged, rest if order is None else _list_of(key, order), original, merge_key)


def _special_elements(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any], bool]:
    """Carry out `$patch` elements: what is left of `original`, the ordinary elements, and whether they replace all."""
    gone: set[Hashable] = set()
    rest, replaced = [], False
    for item in patch:
        directive = item.get(_PATCH) if isinstance(item, dict) else None
        match directive:
            case None:
                rest.append(item)
            case "delete":
                if merge_key not in item:
                    raise StrategicPatchError(f"delete patch type with no merge key {merge_key} defined")
                gone.add(_identity(item, merge_key))
            case "replace":
                replaced = True
            case "merge":
                raise StrategicPatchError("merging lists cannot yet be specified in the patch")
            case _:
                raise StrategicPatchError(f"unknown patch type found: {directive}")
    return [v for v in original if _identity(v, merge_key) not in gone], rest, replaced


def _in_order(merged: list[Any], patch_order: Sequence[Any], server_order: Sequence[Any], merge_key: str) -> list[Any]:
    """Patched elements in the patch's order, the server's own in theirs, interleaved as the server had them.

    An own element goes before the next patched one only where the server knew both and had it so; otherwise after.
    """
    wanted, known = _places(patch_order, merge_key), _places(server_order, merge_key)
    patched: list[tuple[int, int, Any]] = []
    own: list[tuple[int, int, Any]] = []
    for item in merged:
        identity = _identity(item, merge_key)
        at = known.get(identity, -1)
        if (place := wanted.get(identity)) is not None:
            patched.append((place, at, item))
        else:
            own.append((at, at, item))
    patched.sort(key=lambda entry: entry[0])
    own.sort(key=lambda entry: entry[0])
    result: list[Any] = []
    i = j = 0
    while i < len(own) and j < len(patched):
        if 0 <= own[i][1] < patched[j][1]:
            result.append(own[i][2])
            i += 1
        else:
            result.append(patched[j][2])
            j += 1
    return result + [entry[2] for entry in (*own[i:], *patched[j:])]


def _places(items: Sequence[Any], merge_key: str) -> dict[Hashable, int]:
    """Where each element stands first."""
    places: dict[Hashable, int] = {}
    for at, item in enumerate(items):
        places.setdefault(_identity(item, merge_key), at)
    return places


def _identity(item: Any, merge_key: str = "") -> Hashable:
    """What is the same for elements that count as one: of a map its merge key, of anything else its value."""
    if merge_key and isinstance(item, dict):
        return merge_key, _identity(item.get(merge_key))
    return jsonyaml.dumps(item) if isinstance(item, (dict, list)) else item


def _list_of(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise StrategicPatchError(f"invalid JSON document: {key} must be a list")
    return value


def _without_directives(value: Any) -> Any:
    """A patch's value as a plain value: directives and nulls are instructions, not content."""
    if isinstance(value, dict):
        return {k: _without_directives(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        kept = (v for v in value if not (isinstance(v, dict) and _PATCH in v))
        return [_without_directives(v) for v in kept]
    return value
