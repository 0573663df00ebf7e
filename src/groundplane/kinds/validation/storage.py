"""Volumes, claims and storage classes."""

from __future__ import annotations

from typing import Any

from groundplane.kinds import quantities
from groundplane.kinds.validation import amounts, internal, names, selection, volumes
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, required, unsupported
from groundplane.kinds.validation.numbers import immutable, one_of

Object = dict[str, Any]

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_RECLAIM = ("Delete", "Recycle", "Retain")
_VOLUME_MODES = ("Block", "Filesystem")


def _access_modes(modes: list[str], path: str) -> Errors:
    errors = [unsupported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        errors.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return errors


def _class_name(spec: Object, path: str) -> Errors:
    name = spec.get("storageClassName")
    return [invalid(f"{path}.storageClassName", name, m) for m in names.subdomain(name)] if name else []


def volume(obj: Object) -> Errors:
    spec = obj["spec"]
    modes = spec.get("accessModes") or []
    errors = _access_modes(modes, "spec.accessModes") if modes else [required("spec.accessModes")]
    capacity = spec.get("capacity")
    if not capacity:
        errors.append(required("spec.capacity"))
    if "storage" not in (capacity or {}) or len(capacity or {}) > 1:
        errors.append(unsupported("spec.capacity", capacity, ("storage",)))
    for name, amount in (capacity or {}).items():
        errors += amounts.positive(amount, f"spec.capacity[{name}]")
    if spec.get("persistentVolumeReclaimPolicy"):
        errors += one_of(spec["persistentVolumeReclaimPolicy"], "spec.persistentVolumeReclaimPolicy", _RECLAIM)
    errors += volumes.one_source(spec, "spec", volumes.PERSISTENT_SOURCES)
    if (spec.get("hostPath") or {}).get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden("spec.persistentVolumeReclaimPolicy", text))
    errors += _class_name(spec, "spec")
    if spec.get("volumeMode") is not None:
        errors += one_of(spec["volumeMode"], "spec.volumeMode", _VOLUME_MODES)
    return errors + _node_affinity(spec)


def _node_affinity(spec: Object) -> Errors:
    affinity = spec.get("nodeAffinity")
    if affinity is None:
        return [required("spec.nodeAffinity", "Local volume requires node affinity")] if "local" in spec else []
    if affinity.get("required") is None:
        return [required("spec.nodeAffinity.required", "must specify required node constraints")]
    return selection.node_selector(affinity["required"], "spec.nodeAffinity.required")


def volume_update(new: Object, old: Object) -> Errors:
    errors = volume(new)
    after, before = new["spec"], old["spec"]
    if {k: after.get(k) for k in volumes.PERSISTENT_SOURCES} != {k: before.get(k) for k in volumes.PERSISTENT_SOURCES}:
        shown = internal.difference("core.v1.PersistentVolumeSpec", after, before)
        text = f"spec.persistentvolumesource is immutable after creation\n{shown}"
        errors.append(forbidden("spec.persistentvolumesource", text))
    errors += immutable(after, before, "spec", "volumeMode")
    if before.get("nodeAffinity") is not None:
        errors += immutable(after, before, "spec", "nodeAffinity")
    return errors


def claim(obj: Object) -> Errors:
    return claim_spec(obj["spec"], "spec")


def claim_spec(spec: Object, path: str) -> Errors:
    """A claim's spec, also inside an ephemeral volume or a StatefulSet."""
    modes = spec.get("accessModes") or []
    errors: Errors = []
    if not modes:
        errors.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    errors += selection.label_selector(spec.get("selector"), f"{path}.selector")
    errors += _access_modes(modes, f"{path}.accessModes")
    requests = spec["resources"].get("requests") or {}
    if "storage" not in requests:
        errors.append(required(f"{path}.resources[storage]"))
    else:
        errors += amounts.positive(requests["storage"], f"{path}.resources[storage]")
    errors += _class_name(spec, path)
    if spec.get("volumeMode") is not None:
        errors += one_of(spec["volumeMode"], f"{path}.volumeMode", _VOLUME_MODES)
    for name in ("dataSource", "dataSourceRef"):
        source = spec.get(name)
        if source is not None:
            errors += [required(f"{path}.{name}.{field}") for field in ("name", "kind") if not source.get(field)]
    return errors


def claim_update(new: Object, old: Object) -> Errors:
    """Only the request for space may change, and only grow; a binder adds the volume's name once."""
    errors = claim(new)
    after, before = dict(new["spec"]), old["spec"]
    if not before.get("volumeName") and after.get("volumeName"):
        after.pop("volumeName")
    if before.get("storageClassName") is None and old["metadata"].get("annotations") != new["metadata"].get(
        "annotations"
    ):
        after.pop("storageClassName", None)
    wanted, held = (s["resources"].get("requests", {}).get("storage", "0") for s in (after, before))
    bound = old["status"].get("phase") == "Bound"
    if bound:
        after["resources"] = before["resources"]
        after.pop("volumeAttributesClassName", None)
    comparable = {key: value for key, value in before.items() if not bound or key != "volumeAttributesClassName"}
    if after != comparable:
        shown = internal.difference("core.v1.PersistentVolumeClaimSpec", after, comparable)
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        errors.append(forbidden("spec", f"{text}\n{shown}"))
    elif quantities.parse(wanted).nano < quantities.parse(held).nano:
        text = "field can not be less than status.capacity"
        errors.append(forbidden("spec.resources.requests.storage", text))
    return errors


def storage_class(obj: Object) -> Errors:
    errors: Errors = []
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        errors.append(required("provisioner"))
    else:
        errors += [invalid("provisioner", provisioner, m) for m in names.qualified_name(provisioner.lower())]
    if obj.get("reclaimPolicy"):
        errors += one_of(obj["reclaimPolicy"], "reclaimPolicy", ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode") or ""
    return errors + one_of(mode, "volumeBindingMode", ("Immediate", "WaitForFirstConsumer"))


def storage_class_update(new: Object, old: Object) -> Errors:
    errors: Errors = []
    for name in ("parameters", "provisioner", "reclaimPolicy"):
        if new.get(name) != old.get(name):
            errors.append(forbidden(name, f"updates to {name} are forbidden."))
    return errors + immutable(new, old, "", "volumeBindingMode")
