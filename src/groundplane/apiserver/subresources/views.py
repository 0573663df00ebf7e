"""Subresources that are the object itself through a narrow window: only a few fields can be changed through each.

`status` is the kinds' own business; these are the others (the Update strategies of pkg/registry).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.statuses import Cause, FieldCause
from groundplane.kinds.pods import qos_class
from groundplane.kinds.validation import pods as pod_rules


def _finalize(new: Object, old: Object) -> Object:
    """namespaces/finalize: spec.finalizers."""
    spec = {k: v for k, v in (old.get("spec") or {}).items() if k != "finalizers"}
    if finalizers := (new.get("spec") or {}).get("finalizers"):
        spec["finalizers"] = finalizers
    return {**old, "metadata": new["metadata"], "spec": spec}


def _ephemeral(new: Object, old: Object) -> Object:
    """pods/ephemeralcontainers: the list of debugging containers."""
    return _new_generation(old, {**old["spec"], **_only(new["spec"], "ephemeralContainers")}, new)


def _resize(new: Object, old: Object) -> Object:
    """pods/resize: the containers' resources and resize policies."""
    spec = dict(old["spec"])
    for field in ("containers", "initContainers"):
        wanted = {c["name"]: c for c in new["spec"].get(field) or ()}
        if field in spec:
            spec[field] = [{**c, **_only(wanted.get(c["name"], {}), "resources", "resizePolicy")} for c in spec[field]]
    return _new_generation(old, spec, new)


def _only(obj: Object, *fields: str) -> Object:
    return {f: obj[f] for f in fields if f in obj}


def _new_generation(old: Object, spec: Object, new: Object) -> Object:
    meta = new["metadata"]
    if spec != old["spec"] and old["metadata"].get("generation"):
        meta = {**meta, "generation": old["metadata"]["generation"] + 1}
    return {**old, "metadata": meta, "spec": spec}


def _approval(new: Object, old: Object) -> Object:
    """certificatesigningrequests/approval: the conditions."""
    status = {k: v for k, v in (old.get("status") or {}).items() if k != "conditions"}
    status |= _only(new.get("status") or {}, "conditions")
    return {**old, "metadata": new["metadata"], "status": status}


_PREPARE: dict[str, Callable[[Object, Object], Object]] = {
    "finalize": _finalize,
    "ephemeralcontainers": _ephemeral,
    "resize": _resize,
    "approval": _approval,
}


def prepare(subresource: str, new: Object, old: Object) -> Object:
    """What an update through `subresource` makes of `old`."""
    return _PREPARE[subresource](new, old)


def validate(subresource: str, new: Object, old: Object) -> Sequence[Cause]:
    """Complaints about what was changed through `subresource`."""
    if subresource == "resize":
        return [*pod_rules.create(new), *_same_quality(new, old)]
    if subresource == "ephemeralcontainers":
        return [*_same_debuggers(new, old), *pod_rules.create(new)]
    return []


def _same_quality(new: Object, old: Object) -> Sequence[Cause]:
    """ValidatePodResize: what a node has promised a pod may become more or less, not another kind of promise."""
    before = (old.get("status") or {}).get("qosClass") or qos_class(old)
    if qos_class(new) == before:
        return []
    why = f'Invalid value: "{before}": Pod QOS Class may not change as a result of resizing'
    return [FieldCause("FieldValueInvalid", "spec", why)]


def _same_debuggers(new: Object, old: Object) -> Sequence[Cause]:
    before = {c["name"]: c for c in old["spec"].get("ephemeralContainers") or ()}
    after = {c["name"]: c for c in new["spec"].get("ephemeralContainers") or ()}
    field = "spec.ephemeralContainers"
    for name, container in before.items():
        if name not in after:
            why = f'Forbidden: existing ephemeral containers "{name}" may not be removed\n'
            return [FieldCause("FieldValueForbidden", field, why)]
        if after[name] != container:
            why = f'Forbidden: existing ephemeral containers "{name}" may not be changed\n'
            return [FieldCause("FieldValueForbidden", field, why)]
    return []
