"""Sets of field paths: who owns what in `managedFields` (sigs.k8s.io/structured-merge-diff, fieldpath).

A set is a tree of plain dicts. An edge is a path element as FieldsV1 writes it: `f:name` a field or map key,
`k:{"name":"a"}` the element of a list with these keys, `v:"x"` the member of a set, `i:0` an index. The key `.` marks a
node whose own path is in the set:

    {"f:spec": {"f:replicas": {".": {}}}}        the set {.spec.replicas}

FieldsV1 leaves the mark out where a node has nothing else (`"f:replicas": {}`); `decode` and `encode` translate.
Sets are never changed once built; operations share what they can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groundplane.base.jsonyaml import dumps, loads

FieldSet = dict[str, Any]

EMPTY: FieldSet = {}
LEAF: FieldSet = {".": EMPTY}


def decode(fields_v1: Any) -> FieldSet:
    """The set that a `fieldsV1` document stands for; anything that is not one is the empty set."""
    if not isinstance(fields_v1, dict):
        return EMPTY
    return {key: _decode(value) for key, value in fields_v1.items() if key != "."}


def _decode(node: Any) -> FieldSet:
    if not node or not isinstance(node, dict):
        return LEAF
    return {key: EMPTY if key == "." else _decode(value) for key, value in node.items()}


def encode(fields: FieldSet) -> dict[str, Any]:
    """The `fieldsV1` document of a set, keys in byte order as upstream writes them."""
    return {key: EMPTY if len(node) == 1 and "." in node else encode(node) for key, node in sorted(fields.items())}


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    if not b or a is b:
        return a
    if not a:
        return b
    result = dict(a)
    for key, node in b.items():
        mine = result.get(key)
        result[key] = node if mine is None else union(mine, node)
    return result


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """The paths of `a` that are not in `b`; paths below one of `b` stay."""
    if not a or not b:
        return a
    result = {}
    for key, node in a.items():
        other = b.get(key)
        if key == ".":
            if other is None:
                result[key] = node
        elif other is None:
            result[key] = node
        elif rest := difference(node, other):
            result[key] = rest
    return result


def recursive_difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """The paths of `a` that are neither in `b` nor below a path of `b`."""
    if not a or not b:
        return a
    result = {}
    for key, node in a.items():
        other = b.get(key)
        if other is None:
            result[key] = node
        elif "." not in other and (rest := recursive_difference(node, other)):
            result[key] = rest
    return result


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    result = {}
    for key, node in a.items():
        other = b.get(key)
        if other is None:
            continue
        if key == ".":
            result[key] = node
        elif both := intersection(node, other):
            result[key] = both
    return result


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Each path as error messages write it: `.spec.containers[name="a"].image`, in order."""
    for key, node in sorted(fields.items()):
        if key == ".":
            if prefix:
                yield prefix
        else:
            yield from paths(node, prefix + element_text(key))


def element_text(element: str) -> str:
    """One path element as error messages write it."""
    kind, _, rest = element.partition(":")
    match kind:
        case "f":
            return "." + rest
        case "k":
            return "[" + ",".join(f"{k}={dumps(v).decode()}" for k, v in loads(rest).items()) + "]"
        case "v":
            return f"[={rest}]"
    return f"[{rest}]"
