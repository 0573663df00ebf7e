"""Configuration, namespaces, events, quotas, volumes."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.tables.cells import UNSET, age, name, since

Object = dict[str, Any]
Cells = list[Any]

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def only_age(obj: Object, now: float) -> Cells:
    return [name(obj), age(obj, now)]


def config_map(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def secret(obj: Object, now: float) -> Cells:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def namespace(obj: Object, now: float) -> Cells:
    return [name(obj), obj["status"].get("phase", ""), age(obj, now)]


def event(obj: Object, now: float) -> Cells:
    return _event(obj, now, obj.get("involvedObject") or {}, obj.get("source") or {}, obj.get("message", ""))


def new_event(obj: Object, now: float) -> Cells:
    """The same event in its events.k8s.io form."""
    renamed = {
        **obj,
        "firstTimestamp": obj.get("deprecatedFirstTimestamp"),
        "lastTimestamp": obj.get("deprecatedLastTimestamp"),
        "count": obj.get("deprecatedCount", 0),
        "reportingComponent": obj.get("reportingController", ""),
    }
    return _event(renamed, now, obj.get("regarding") or {}, obj.get("deprecatedSource") or {}, obj.get("note", ""))


def _event(obj: Object, now: float, about: Object, source: Object, message: str) -> Cells:
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count", 0)
    if obj.get("series"):
        last = since(obj["series"].get("lastObservedTime"), now)
        count = obj["series"].get("count", 0)
    kind = about.get("kind", "").lower()
    target = f"{kind}/{about['name']}" if about.get("name") else kind
    who = source or {"component": obj.get("reportingComponent", ""), "host": obj.get("reportingInstance", "")}
    reporter = ", ".join(part for part in (who.get("component"), who.get("host")) if part)
    return [
        last, obj.get("type", ""), obj.get("reason", ""), target, about.get("fieldPath", ""), reporter,
        message.strip(), first, count or 1, name(obj),
    ]  # fmt: skip


def resource_quota(obj: Object, now: float) -> Cells:
    hard, used = obj["status"].get("hard") or {}, obj["status"].get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource in sorted(hard):
        which = limits if resource.startswith("limits") else requests
        which.append(f"{resource}: {used.get(resource, '0')}/{hard[resource]}")
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def volume(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    claim_ref = spec.get("claimRef")
    claim_name = f"{claim_ref.get('namespace', '')}/{claim_ref.get('name', '')}" if claim_ref else ""
    return [
        name(obj), (spec.get("capacity") or {}).get("storage", "0"), _access(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""), _phase(obj), claim_name, _class(obj),
        spec.get("volumeAttributesClassName", UNSET), status.get("reason", ""), age(obj, now),
        spec.get("volumeMode", UNSET),
    ]  # fmt: skip


def claim(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    bound = bool(spec.get("volumeName"))
    return [
        name(obj), _phase(obj), spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        _access(status.get("accessModes")) if bound else "", _class(obj), spec.get("volumeAttributesClassName", UNSET),
        age(obj, now), spec.get("volumeMode", UNSET),
    ]  # fmt: skip


def _phase(obj: Object) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(obj["status"].get("phase", ""))


def _class(obj: Object) -> str:
    annotated = (obj["metadata"].get("annotations") or {}).get(_OLD_CLASS)
    return str(annotated if annotated is not None else obj["spec"].get("storageClassName", ""))


def _access(modes: list[str] | None) -> str:
    """In a fixed order, each once (GetAccessModesAsString)."""
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))
