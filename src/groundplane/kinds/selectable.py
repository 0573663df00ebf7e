"""The fields that field selectors may name, per resource (pkg/apis/*/v1/conversion.go, GetAttrs of the registries)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundplane.kinds.resources import Resource

Object = dict[str, Any]

_COMMON = ("metadata.name", "metadata.namespace")
_EVENT_OBJECT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

_FIELDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "namespaces"): ("status.phase",),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("", "replicationcontrollers"): ("status.replicas",),
    ("", "events"): (
        *(f"involvedObject.{name}" for name in _EVENT_OBJECT), "reason", "reportingComponent", "source", "type",
    ),
    ("events.k8s.io", "events"): (
        *(f"regarding.{name}" for name in _EVENT_OBJECT), "reason", "reportingController", "type",
    ),
    ("apps", "replicasets"): ("status.replicas",),
    ("batch", "jobs"): ("status.successful",),
    ("certificates.k8s.io", "certificatesigningrequests"): ("spec.signerName",),
    ("networking.k8s.io", "ipaddresses"): (
        "spec.parentRef.group", "spec.parentRef.resource", "spec.parentRef.namespace", "spec.parentRef.name",
    ),
    ("resource.k8s.io", "resourceslices"): ("spec.nodeName", "spec.driver"),
}  # fmt: skip

# Names that are not the JSON path of their value.
_ELSEWHERE: Mapping[str, str] = {
    "status.successful": "status.succeeded", "source": "source.component", "reportingController": "reportingComponent",
    **{f"regarding.{name}": f"involvedObject.{name}" for name in _EVENT_OBJECT},
}  # fmt: skip
# What an absent value reads as, where that is not the empty text.
_ABSENT: Mapping[str, str] = {
    "spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0", "status.successful": "0",
}  # fmt: skip


def fields(resource: Resource) -> tuple[str, ...]:
    """All names that may be asked for."""
    return (*_COMMON, *_FIELDS.get((resource.group, resource.plural), ()))


def values(resource: Resource, obj: Object) -> dict[str, str]:
    """Each name with the value of `obj`, an object in its stored form, as text."""
    meta = obj["metadata"]
    found = {"metadata.name": meta.get("name", ""), "metadata.namespace": meta.get("namespace", "")}
    for name in _FIELDS.get((resource.group, resource.plural), ()):
        found[name] = _value(obj, name)
    return found


def _value(obj: Object, name: str) -> str:
    value: Any = obj
    for part in _ELSEWHERE.get(name, name).split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        if name == "source":  # an event written by the new API names its reporter instead
            return str(obj.get("reportingComponent", ""))
        return _ABSENT.get(name, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):  # podIPs
        return ",".join(str(one.get("ip", "")) for one in value)
    return str(value)
