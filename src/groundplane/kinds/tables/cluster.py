"""Nodes, classes, bindings: what belongs to the cluster rather than to an application."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.tables.cells import NONE, UNKNOWN, age, condition, human_duration, name

Object = dict[str, Any]
Cells = list[Any]

_ROLE_PREFIX = "node-role.kubernetes.io/"
_DEFAULT_CLASSES = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_DEFAULT_ATTRIBUTES = "volumeattributesclass.alpha.kubernetes.io/is-default-class"


def node(obj: Object, now: float) -> Cells:
    status = obj["status"]
    info = status.get("nodeInfo") or {}
    ready = condition(obj, "Ready")
    state = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if obj["spec"].get("unschedulable"):
        state += ",SchedulingDisabled"
    return [
        name(obj), state, _roles(obj), age(obj, now), info.get("kubeletVersion", ""),
        _address(status, "InternalIP"), _address(status, "ExternalIP"),
        *(info.get(field) or UNKNOWN for field in ("osImage", "kernelVersion", "containerRuntimeVersion")),
    ]  # fmt: skip


def _roles(obj: Object) -> str:
    roles = set()
    for key, value in (obj["metadata"].get("labels") or {}).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            roles.add(key[len(_ROLE_PREFIX) :])
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _address(status: Object, kind: str) -> str:
    for found in status.get("addresses") or ():
        if found.get("type") == kind:
            return str(found.get("address", ""))
    return NONE


def lease(obj: Object, now: float) -> Cells:
    return [name(obj), obj["spec"].get("holderIdentity", ""), age(obj, now)]


def runtime_class(obj: Object, now: float) -> Cells:
    return [name(obj), obj.get("handler", ""), age(obj, now)]


def priority_class(obj: Object, now: float) -> Cells:
    return [
        name(obj), obj.get("value", 0), obj.get("globalDefault", False), age(obj, now), obj.get("preemptionPolicy", ""),
    ]  # fmt: skip


def storage_class(obj: Object, now: float) -> Cells:
    annotations = obj["metadata"].get("annotations") or {}
    is_default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASSES)
    return [
        name(obj) + (" (default)" if is_default else ""), obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"), obj.get("volumeBindingMode", "Immediate"),
        obj.get("allowVolumeExpansion", False), age(obj, now),
    ]  # fmt: skip


def volume_attributes_class(obj: Object, now: float) -> Cells:
    is_default = (obj["metadata"].get("annotations") or {}).get(_DEFAULT_ATTRIBUTES) == "true"
    return [name(obj) + (" (default)" if is_default else ""), obj.get("driverName", ""), age(obj, now)]


def csi_driver(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    audiences = [request.get("audience", "") for request in spec.get("tokenRequests") or ()]
    return [
        name(obj), spec.get("attachRequired", True), spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False), ",".join(audiences) or "<unset>", spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()), age(obj, now),
    ]  # fmt: skip


def csi_node(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj["spec"].get("drivers") or ()), age(obj, now)]


def volume_attachment(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    volume = spec["source"].get("persistentVolumeName", "")
    attached = obj["status"].get("attached", False)
    return [name(obj), spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, age(obj, now)]


def role_binding(obj: Object, now: float) -> Cells:
    role = obj["roleRef"]
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        found = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            found = f"{subject.get('namespace', '')}/{found}"
        if subject.get("kind") in subjects:
            subjects[subject["kind"]].append(found)
    return [
        name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now),
        *(", ".join(found) for found in subjects.values()),
    ]  # fmt: skip


def signing_request(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    seconds = spec.get("expirationSeconds")
    duration = NONE if seconds is None else human_duration(seconds)
    kinds = {found.get("type") for found in obj["status"].get("conditions") or ()}
    state = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    state += ",Failed" if "Failed" in kinds else ""
    state += ",Issued" if obj["status"].get("certificate") else ""
    return [name(obj), age(obj, now), spec.get("signerName") or NONE, spec.get("username", ""), duration, state]


def component_status(obj: Object, now: float) -> Cells:
    for found in obj.get("conditions") or ():
        if found.get("type") == "Healthy":
            state = {"True": "Healthy", "False": "Unhealthy"}.get(found.get("status", ""), "Unknown")
            return [name(obj), state, found.get("message", ""), found.get("error", "")]
    return [name(obj), "Unknown", "", ""]
