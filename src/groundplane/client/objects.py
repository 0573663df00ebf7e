"""Building new objects out of shared ones: what changes is copied along its path, all else is shared.

Copying a 3 KB Pod whole costs 100 µs; replacing one field this way costs 1 µs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object
from groundplane.client.resources import Resource

Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""


def key_of(obj: Object) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    return obj["metadata"].get("namespace") or ""


def uid_of(obj: Object) -> str:
    return obj["metadata"].get("uid") or ""


def version_of(obj: Object) -> str:
    return obj["metadata"].get("resourceVersion") or ""


def labels_of(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def is_deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def replace_in(obj: Object, path: Sequence[str], value: Any) -> Object:
    """A copy of `obj` with the field at `path` set to `value`; None removes the field. Missing parents are made."""
    head, *rest = path
    new = dict(obj)
    if rest:
        new[head] = replace_in(obj.get(head) or {}, rest, value)
    elif value is None:
        new.pop(head, None)
    else:
        new[head] = value
    return new


def with_annotations(obj: Object, changes: Mapping[str, str | None]) -> Object:
    """A copy with annotations set; None removes one."""
    merged = {**annotations_of(obj), **changes}
    return replace_in(obj, ("metadata", "annotations"), {k: v for k, v in merged.items() if v is not None})


def owner_reference(owner: Object, resource: Resource) -> Object:
    """metav1.NewControllerRef: the reference by which a controller owns what it creates."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def object_reference(obj: Object, resource: Resource) -> Object:
    """core/v1 ObjectReference, as events and endpoints carry it."""
    reference = {
        "kind": resource.kind,
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": uid_of(obj),
        "apiVersion": resource.api_version,
        "resourceVersion": version_of(obj),
    }
    return {key: value for key, value in reference.items() if value}


def condition_of(obj: Object, type: str) -> Object | None:
    """The condition of that type in `status.conditions`, or None."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type:
            return dict(condition)
    return None


def condition(type: str, status: str, reason: str = "", message: str = "", now: float | None = None) -> Object:
    """A condition whose lastTransitionTime is `now`."""
    made = {"type": type, "status": status, "reason": reason, "message": message}
    if now is not None:
        made["lastTransitionTime"] = rfc3339(now)
    return {key: value for key, value in made.items() if value}


def set_condition(conditions: Sequence[Object], new: Object) -> list[Object]:
    """The list with `new` in its type's place; lastTransitionTime stays where the status stays the same."""
    result: list[Object] = []
    placed = False
    for old in conditions:
        if old.get("type") != new["type"]:
            result.append(old)
            continue
        if old.get("status") == new["status"] and old.get("lastTransitionTime"):
            new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
        result.append(new)
        placed = True
    return result if placed else [*result, new]
