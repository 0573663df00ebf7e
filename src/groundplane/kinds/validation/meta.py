"""Metadata of every object (k8s.io/apimachinery pkg/api/validation/objectmeta.go, pkg/apis/core/validation)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groundplane.kinds.validation import names
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, quoted, required, too_long

Object = dict[str, Any]

_ANNOTATIONS_LIMIT = 256 * 1024
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def validate(meta: Object, check: names.Check, *, namespaced: bool, path: str = "metadata") -> Errors:
    """Complaints about a new object's metadata; `check` is the kind's rule for names."""
    errors: Errors = []
    generate = meta.get("generateName")
    if generate:
        errors += [invalid(f"{path}.generateName", generate, m) for m in names.prefix_of(check)(generate)]
    name = meta.get("name", "")
    if not name:
        errors.append(required(f"{path}.name", "name or generateName is required"))
    else:
        errors += [invalid(f"{path}.name", name, message) for message in check(name)]
    namespace = meta.get("namespace", "")
    if namespaced:
        if not namespace:
            errors.append(required(f"{path}.namespace"))
        else:
            errors += [invalid(f"{path}.namespace", namespace, m) for m in names.label(namespace)]
    elif namespace:
        errors.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    if meta.get("generation", 0) < 0:
        errors.append(invalid(f"{path}.generation", meta["generation"], "must be greater than or equal to 0"))
    return errors + _shared(meta, path)


def validate_update(new: Object, old: Object, path: str = "metadata") -> Errors:
    """Complaints about changed metadata. What the server carries over (uid, stamps) is expected to be there already."""
    errors: Errors = []
    if old.get("deletionTimestamp"):
        known = old.get("finalizers") or ()
        added = [f for f in new.get("finalizers") or () if f not in known]
        if added:
            shown = "[]string{" + ", ".join(quoted(f) for f in sorted(added)) + "}"
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
            errors.append(forbidden(f"{path}.finalizers", text))
    if new.get("generation", 0) < old.get("generation", 0):
        errors.append(invalid(f"{path}.generation", new.get("generation", 0), "must not be decremented"))
    for name in (
        "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
    ):  # fmt: skip
        if new.get(name) != old.get(name):
            errors.append(invalid(f"{path}.{name}", new.get(name), "field is immutable"))
    return errors + _shared(new, path)


def _shared(meta: Object, path: str) -> Errors:
    errors = label_errors(meta.get("labels"), f"{path}.labels")
    errors += annotation_errors(meta.get("annotations"), f"{path}.annotations")
    errors += _owners(meta.get("ownerReferences") or (), f"{path}.ownerReferences")
    errors += _finalizers(meta.get("finalizers") or (), f"{path}.finalizers")
    for index, entry in enumerate(meta.get("managedFields") or ()):
        if entry.get("operation") not in ("Apply", "Update"):
            where = f"{path}.managedFields[{index}].operation"
            errors.append(invalid(where, entry.get("operation", ""), "must be `Apply` or `Update`"))
    return errors


def label_errors(found: Object | None, path: str) -> Errors:
    """Keys and values of labels, and of selectors that are plain maps."""
    errors: Errors = []
    for key, value in (found or {}).items():
        errors += [invalid(path, key, message) for message in names.qualified_name(key)]
        errors += [invalid(path, value, message) for message in names.label_value(value)]
    return errors


def annotation_errors(found: Object | None, path: str) -> Errors:
    errors: Errors = []
    size = 0
    for key, value in (found or {}).items():
        errors += [invalid(path, key, message) for message in names.qualified_name(key.lower())]
        size += len(key) + len(value)
    if size > _ANNOTATIONS_LIMIT or (4 * size > _ANNOTATIONS_LIMIT and _bytes(found or {}) > _ANNOTATIONS_LIMIT):
        errors.append(too_long(path, _ANNOTATIONS_LIMIT))
    return errors


def _bytes(found: Object) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in found.items())


def _owners(owners: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    controllers: list[str] = []
    for owner in owners:
        version = owner.get("apiVersion", "")
        if not version.rpartition("/")[2]:
            errors.append(invalid(f"{path}.apiVersion", version, "version must not be empty"))
        errors += [
            invalid(f"{path}.{name}", owner.get(name, ""), "must not be empty")
            for name in ("kind", "name", "uid")
            if not owner.get(name)
        ]
        if (version, owner.get("kind")) == ("v1", "Event"):
            errors.append(invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(owner.get("name", ""))
    if len(controllers) > 1:
        text = 'Only one reference can have Controller set to true. Found "true" in references for '
        errors.append(invalid(path, list(owners), f"{text}{controllers[0]} and {controllers[1]}"))
    return errors


def _finalizers(found: Iterable[str], path: str) -> Errors:
    errors: Errors = []
    for index, value in enumerate(found):
        errors += finalizer(value, path, index)
    if "orphan" in found and "foregroundDeletion" in found:
        text = "finalizers orphan and foregroundDeletion cannot be both set"
        errors.append(invalid(path, list(found), text))
    return errors


def finalizer(value: str, path: str, index: int) -> Errors:
    """One finalizer's name: qualified, or one of the three without a domain."""
    errors = [invalid(path, value, message) for message in names.qualified_name(value)]
    if "/" not in value and value not in _STANDARD_FINALIZERS:
        text = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(invalid(f"{path}[{index}]", value, text))
    return errors
