"""Whether an object may be stored: upstream's rules and words, kind by kind (pkg/apis/*/validation).

Every kind's metadata is checked; the kinds in `_CREATE` also have their own rules. Nothing here changes an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groundplane.kinds.resources import Resource
from groundplane.kinds.validation import meta, names
from groundplane.kinds.validation.errors import Errors, FieldError

__all__ = ["FieldError", "validate_create", "validate_status", "validate_update", "warnings"]

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"

# Kinds whose names are not DNS subdomains.
_NAMES: dict[tuple[str, str], names.Check] = {
    ("", "namespaces"): names.label,
    ("", "services"): names.label_1035,
    (_RBAC, "roles"): names.path_segment,
    (_RBAC, "rolebindings"): names.path_segment,
    (_RBAC, "clusterroles"): names.path_segment,
    (_RBAC, "clusterrolebindings"): names.path_segment,
}

_CREATE: dict[tuple[str, str], Callable[[Object], Errors]] = {}
_UPDATE: dict[tuple[str, str], Callable[[Object, Object], Errors]] = {}
_STATUS: dict[tuple[str, str], Callable[[Object, Object], Errors]] = {}


def validate_create(resource: Resource, obj: Object) -> Errors:
    """Complaints about a new object, decoded, completed and prepared."""
    key = (resource.group, resource.plural)
    errors = meta.validate(obj["metadata"], _NAMES.get(key, names.subdomain), namespaced=resource.namespaced)
    if own := _CREATE.get(key):
        errors += own(obj)
    return errors


def validate_update(resource: Resource, new: Object, old: Object) -> Errors:
    """Complaints about a changed object."""
    key = (resource.group, resource.plural)
    errors = meta.validate_update(new["metadata"], old["metadata"])
    if own := _UPDATE.get(key):
        errors += own(new, old)
    elif created := _CREATE.get(key):
        errors += created(new)
    return errors


def validate_status(resource: Resource, new: Object, old: Object) -> Errors:
    """Complaints about a changed status."""
    errors = meta.validate_update(new["metadata"], old["metadata"])
    if own := _STATUS.get((resource.group, resource.plural)):
        errors += own(new, old)
    return errors


def warnings(resource: Resource, obj: Object, old: Object | None) -> list[str]:
    """What the answer's Warning headers say."""
    found = []
    for index, value in enumerate(obj["metadata"].get("finalizers") or ()):
        if "/" not in value and value not in ("kubernetes", "orphan", "foregroundDeletion"):
            text = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with"
            found.append(f'metadata.finalizers[{index}]: "{value}": {text} other finalizer writers')
    return found
