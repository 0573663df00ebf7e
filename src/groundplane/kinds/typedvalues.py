"""Values seen through their schema: compared, merged and pruned path by path, for server-side apply.

The rules are structured-merge-diff's (sigs.k8s.io/structured-merge-diff, typed; KEP-555): structs and maps go key by
key unless atomic; lists are atomic, sets of scalars, or keyed; what the schema does not describe goes map by map with
atomic lists. null is the same as absent. Values given are never changed; untouched parts are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.base.jsonyaml import dumps
from groundplane.kinds.fieldsets import EMPTY, LEAF, FieldSet, element_text, union
from groundplane.kinds.schema import Type


class TypedError(GroundError):
    """The value does not fit its schema; the message begins with the path."""


_CONTAINERS = frozenset({"struct", "map", "list", "any"})


@dataclass(frozen=True, slots=True)
class Comparison:
    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


def _shape(node: Type, value: Any) -> str:
    """How to treat the value: `leaf`, `map` (structs too), or `list` (sets and keyed lists)."""
    kind = node.kind
    if kind in ("struct", "map"):
        return "leaf" if node.atomic else "map"
    if kind == "list":
        return "leaf" if node.list_type not in ("set", "map") else "list"
    return "map" if kind == "any" and isinstance(value, dict) else "leaf"


def _inner(node: Type, key: str) -> Type | None:
    """The type behind a key of a struct or map; None where a struct has no such field."""
    if node.kind == "struct":
        field = node.fields.get(key)
        return field.type if field is not None else None
    return node if node.kind == "any" else node.element


def _item(node: Type) -> Type:
    assert node.element is not None, "a list has elements"
    return node.element


def _named(node: Type, key: str) -> bool:
    return node.kind == "struct" and key in node.fields


def elements(node: Type, items: list[Any], at: str = "") -> dict[str, Any]:
    """A set's or keyed list's items by path element, in order. Raises TypedError on duplicates and missing keys."""
    result: dict[str, Any] = {}
    for item in items:
        element = _element(node, item, at)
        if element in result:
            raise TypedError(f"{at}: duplicate entries for key {element_text(element)}")
        result[element] = item
    return result


def _element(node: Type, item: Any, at: str) -> str:
    if node.list_type == "set":
        return "v:" + dumps(item).decode()
    if not isinstance(item, dict):
        raise TypedError(f"{at}: element: associative list with keys may not have non-map elements")
    keys = {}
    for name in sorted(node.list_keys):
        value = item.get(name)
        if value is None:
            value = _default(node.element, name)
        if value is not None:
            keys[name] = value
    if not keys:
        names = ", ".join(f'"{k}"' for k in node.list_keys)
        raise TypedError(
            f"{at}: element: associative list with keys has an element that omits all key fields [{names}]"
        )
    return "k:" + dumps(keys).decode()


def _default(element: Type | None, name: str) -> Any:
    """A key's declared default (a port's protocol is TCP), which upstream's element keys fall back to."""
    field = element.fields.get(name) if element is not None else None
    if field is None or not field.default:
        return None
    match field.kind:
        case "integer":
            return int(field.default)
        case "boolean":
            return field.default == "true"
    return field.default


def _lenient_elements(node: Type, items: list[Any]) -> dict[str, Any]:
    """As `elements`, for stored objects: duplicates and keyless items (old data) are taken as they come."""
    result: dict[str, Any] = {}
    for index, item in enumerate(items):
        try:
            element = _element(node, item, "")
        except TypedError:
            element = f"i:{index}"
        result[element if element not in result else f"i:{index}"] = item
    return result


def to_set(node: Type, value: Any, at: str = "") -> FieldSet:
    """The paths that an applied configuration claims. Raises TypedError where it does not fit the schema."""
    shape = _shape(node, value)
    if shape == "leaf":
        return LEAF
    result: FieldSet = {}
    if shape == "list":
        if not isinstance(value, list):
            raise TypedError(f"{at}: expected list, got {_name_of(value)}")
        for element, item in elements(node, value, at).items():
            result[element] = union(to_set(_item(node), item, at + element_text(element)), LEAF)
        return result
    if not isinstance(value, dict):
        raise TypedError(f"{at}: expected map, got {_name_of(value)}")
    for key, item in value.items():
        inner = _inner(node, key)
        if inner is None:
            raise TypedError(f"{at}.{key}: field not declared in schema")
        below = EMPTY if item is None else to_set(inner, item, f"{at}.{key}")
        if item is None or item == {} or not _named(node, key):
            below = union(below, LEAF)
        if below:
            result["f:" + key] = below
    return result


def _name_of(value: Any) -> str:
    return {"dict": "map", "str": "string", "int": "number", "float": "number"}.get(value.__class__.__name__, "other")


def _whole(node: Type, value: Any) -> FieldSet:
    """Every path of a value that is there on one side only, its own included."""
    shape = _shape(node, value)
    if shape == "leaf" or not value:
        return LEAF
    result: FieldSet = {".": EMPTY}
    if shape == "list":
        for element, item in _lenient_elements(node, value).items():
            result[element] = _whole(_item(node), item)
    else:
        for key, item in value.items():
            inner = _inner(node, key)
            if item is not None and inner is not None:
                result["f:" + key] = _whole(inner, item)
    return result


def compare(node: Type, old: Any, new: Any) -> Comparison:
    """Which paths `new` has that `old` has not, which differ, and which are gone."""
    added: FieldSet = {}
    modified: FieldSet = {}
    removed: FieldSet = {}
    _compare(node, old, new, added, modified, removed)
    return Comparison(added, modified, removed)


def _compare(node: Type, old: Any, new: Any, added: FieldSet, modified: FieldSet, removed: FieldSet) -> None:
    """Both are there. Fill the three sets with the paths below (and, for a leaf, the `.` of this node)."""
    if old is new:
        return
    shape = _shape(node, new if isinstance(new, dict) else old)
    if shape == "leaf" or (not old and not new) or old.__class__ is not new.__class__:
        if old != new:
            modified["."] = EMPTY
        return
    if shape == "list":
        before, after = _lenient_elements(node, old), _lenient_elements(node, new)
    else:
        before, after = old, new
    for key, item in after.items():
        inner = _item(node) if shape == "list" else _inner(node, key)
        if item is None or inner is None:
            continue
        edge = key if shape == "list" else "f:" + key
        was = before.get(key)
        if was is None:
            added[edge] = _whole(inner, item)
        elif was is not item:
            _descend(inner, was, item, edge, (added, modified, removed))
    for key, was in before.items():
        if was is not None and after.get(key) is None:
            inner = _item(node) if shape == "list" else _inner(node, key)
            if inner is not None:
                removed[key if shape == "list" else "f:" + key] = _whole(inner, was)


def _descend(node: Type, old: Any, new: Any, edge: str, sets: tuple[FieldSet, FieldSet, FieldSet]) -> None:
    below: tuple[FieldSet, FieldSet, FieldSet] = ({}, {}, {})
    _compare(node, old, new, *below)
    for whole, part in zip(sets, below, strict=True):
        if part:
            whole[edge] = part


def merge(node: Type, live: Any, config: Any) -> Any:
    """`live` with everything that `config` says laid over it."""
    if config is None or live is config:
        return live
    shape = _shape(node, config)
    if shape == "leaf" or live is None or live.__class__ is not config.__class__:
        return config
    if shape == "list":
        return _merge_list(node, live, config)
    result = dict(live)
    for key, value in config.items():
        inner = _inner(node, key)
        result[key] = value if inner is None else merge(inner, live.get(key), value)
    return result


def _merge_list(node: Type, live: list[Any], config: list[Any]) -> list[Any]:
    """Shared items in the configuration's order, the live list's own items where they stood among them."""
    left, right = _lenient_elements(node, live), _lenient_elements(node, config)
    shared = [element for element in right if element in left]
    next_shared = 0
    result: list[Any] = []
    left_keys, right_keys = list(left), list(right)
    i = j = 0
    while i < len(left_keys) or j < len(right_keys):
        if i < len(left_keys):
            mine = left_keys[i]
            same = j < len(right_keys) and mine == right_keys[j]
            wanted = shared[next_shared] if next_shared < len(shared) else None
            if not same and mine in right and (j >= len(right_keys) or mine != wanted):
                i += 1  # its place is given by the configuration
                continue
            if not same and mine not in right:
                result.append(left[mine])
                i += 1
                continue
            if same:
                i += 1
        element = right_keys[j]
        result.append(merge(_item(node), left.get(element), right[element]))
        j += 1
        if next_shared < len(shared) and shared[next_shared] == element:
            next_shared += 1
    return result


def without(node: Type, value: Any, fields: FieldSet) -> Any:
    """`value` less every field, map entry and list item whose path is in `fields`; emptied containers become None."""
    shape = _shape(node, value)
    if not fields or shape == "leaf" or not value:
        return value
    if shape == "list":
        kept = []
        for element, item in _lenient_elements(node, value).items():
            gone = fields.get(element, EMPTY)
            if "." not in gone:
                kept.append(without(_item(node), item, gone))
        return kept or None
    result = {}
    for key, item in value.items():
        gone = fields.get("f:" + key, EMPTY)
        inner = _inner(node, key)
        if "." in gone:
            continue
        rest = item if inner is None else without(inner, item, gone)
        if rest is not None or item is None:
            result[key] = rest
    return result or None


def with_named(node: Type, fields: FieldSet) -> FieldSet:
    """`fields` plus the struct fields on the way to its members, which sets usually leave out."""
    result: FieldSet = {}
    for key, owned in fields.items():
        if key == ".":
            result[key] = owned
            continue
        name = key[2:]
        inner = _inner(node, name) if key.startswith("f:") or node.kind == "any" else node.element
        below = owned if inner is None or inner.kind not in _CONTAINERS else with_named(inner, owned)
        result[key] = union(below, LEAF) if key.startswith("f:") and _named(node, name) else below
    return result


def empty_object(node: Type) -> dict[str, Any]:
    """What Go encodes for a zero value, which therefore is never `added`.

    Structs held by value are always there, and so are lists and maps without `omitempty` (as null upstream, which
    compares like empty).
    """
    result: dict[str, Any] = {}
    for name, field in node.fields.items():
        if field.value_struct:
            result[name] = empty_object(field.type)
        elif not field.omitempty and field.kind in ("list", "map"):
            result[name] = [] if field.kind == "list" else {}
    return result
