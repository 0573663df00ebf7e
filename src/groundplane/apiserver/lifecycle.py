"""What the server itself sets on metadata, and what it forbids: k8s.io/apiserver/pkg/registry/rest.

Pure: objects in, new objects out. The kind's own rules (`strategy`) are called in between by `verbs/write.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.statuses import Cause, FieldCause
from groundplane.base import clock as clocks
from groundplane.base import ids

# names.go: the base is cut so that the whole fits a label.
_BASE_LENGTH, _SUFFIX_LENGTH = 58, 5

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


def with_meta(obj: Object, **fields: Any) -> Object:
    """`obj` with metadata fields replaced; a field given as None is left out."""
    meta = {**obj["metadata"], **fields}
    return {**obj, "metadata": {k: v for k, v in meta.items() if v is not None}}


def match_namespace(obj: Object, namespace: str) -> Object:
    """The object in the request's namespace. Raises BadRequest where it names another one."""
    meta = obj.get("metadata") or {}
    given = meta.get("namespace", "")
    if given == namespace:
        return obj
    if not given:
        return {**obj, "metadata": {**meta, "namespace": namespace}}
    if not namespace:
        return {**obj, "metadata": {k: v for k, v in meta.items() if k != "namespace"}}
    raise statuses.bad_request("the namespace of the provided object does not match the namespace sent on the request")


def match_name(obj: Object, name: str) -> None:
    """The object's name is the URL's. Raises BadRequest."""
    given = obj["metadata"].get("name", "")
    if not given:
        raise statuses.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if given != name:
        raise statuses.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def named(obj: Object) -> Object:
    """A name from `generateName` where there is none."""
    meta = obj["metadata"]
    base = meta.get("generateName", "")
    if meta.get("name") or not base:
        return obj
    return with_meta(obj, name=base[:_BASE_LENGTH] + ids.name_suffix(_SUFFIX_LENGTH))


def born(obj: Object, now: float) -> Object:
    """System fields of a new object; whatever the client said about deletion is dropped."""
    meta = {
        k: v
        for k, v in obj["metadata"].items()
        if k not in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
    }
    meta["uid"] = ids.uuid4()
    meta["creationTimestamp"] = clocks.rfc3339(now)
    return {**obj, "metadata": meta}


# ValidateObjectMetaAccessorUpdate: what an update may not change; absent in the new object means "as it was".
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def inherit(new: Object, old: Object) -> Object:
    """System fields that an update leaves out are the old ones."""
    meta, before = new["metadata"], old["metadata"]
    missing = {k: before[k] for k in _KEPT if before.get(k) is not None and meta.get(k) in (None, "")}
    if "generation" in before or "generation" in meta:
        missing["generation"] = before.get("generation")
    if before.get("generateName") and "generateName" not in meta:
        missing["generateName"] = before["generateName"]
    return with_meta(new, **missing) if missing else new


def immutable_meta(new: Object, old: Object) -> list[Cause]:
    """Complaints about metadata that may never change."""
    causes: list[Cause] = []
    meta, before = new["metadata"], old["metadata"]
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if meta.get(key) != before.get(key):
            shown = _go_value(meta.get(key))
            causes.append(
                FieldCause("FieldValueInvalid", f"metadata.{key}", f"Invalid value: {shown}: field is immutable")
            )
    if before.get("deletionTimestamp"):
        added = [f for f in meta.get("finalizers") or () if f not in (before.get("finalizers") or ())]
        if added:
            told = f"[]string{{{', '.join(_go_value(a) for a in sorted(added))}}}"
            why = "no new finalizers can be added if the object is being deleted, found new finalizers " + told
            causes.append(FieldCause("FieldValueForbidden", "metadata.finalizers", f"Forbidden: {why}"))
    return causes


def _go_value(value: Any) -> str:
    if value is None:
        return "null"
    return f'"{value}"' if isinstance(value, str) else str(value)


def is_leaving(new: Object, old: Object) -> bool:
    """An update that takes the last finalizer of an object being deleted deletes it (ShouldDeleteDuringUpdate)."""
    before = old["metadata"]
    if not before.get("deletionTimestamp") or new["metadata"].get("finalizers"):
        return False
    return not before.get("deletionGracePeriodSeconds")


def finalizers_for(obj: Object, options: Object, *, orphans_by_default: bool) -> list[str]:
    """The finalizers that a deletion's propagation policy leads to (deletionFinalizersForGarbageCollection)."""
    old: Sequence[str] = obj["metadata"].get("finalizers") or ()
    kept = [f for f in old if f not in (ORPHAN, FOREGROUND)]
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    if orphan is not None:
        return [*kept, ORPHAN] if orphan else kept
    if policy is not None:
        return kept + {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(policy, [])
    if ORPHAN in old:
        return [*kept, ORPHAN]
    if FOREGROUND in old:
        return [*kept, FOREGROUND]
    return [*kept, ORPHAN] if orphans_by_default else kept


def dying(obj: Object, now: float, grace: int) -> Object:
    """The object with its deletion begun: stamped `grace` seconds ahead, as a new generation where it has one."""
    meta = obj["metadata"]
    fields: dict[str, Any] = {
        "deletionTimestamp": clocks.rfc3339(now + grace),
        "deletionGracePeriodSeconds": grace,
    }
    if meta.get("generation"):
        fields["generation"] = meta["generation"] + 1
    return with_meta(obj, **fields)
