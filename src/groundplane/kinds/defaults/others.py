"""The groups with one or two kinds that have defaults: rbac, scheduling, flow control, tokens, extensions, devices."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"


def role_binding(obj: Object) -> None:
    if not obj["roleRef"].get("apiGroup"):
        obj["roleRef"]["apiGroup"] = _RBAC
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC


def priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def flow_schema(obj: Object) -> None:
    if not obj["spec"].get("matchingPrecedence"):
        obj["spec"]["matchingPrecedence"] = 1000


def priority_level(obj: Object) -> None:
    spec = obj["spec"]
    if spec.get("type") == "Exempt":
        exempt = spec.setdefault("exempt", {})
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    limited = spec.get("limited")
    if limited is not None:
        limited.setdefault("nominalConcurrencyShares", 30)
        limited.setdefault("lendablePercent", 0)
        queuing = limited["limitResponse"].get("queuing")
        if queuing is not None:
            for name, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
                if not queuing.get(name):
                    queuing[name] = value


def token_request(obj: Object) -> None:
    obj["spec"].setdefault("expirationSeconds", 3600)


def api_service(obj: Object) -> None:
    if "service" in obj["spec"]:
        obj["spec"]["service"].setdefault("port", 443)


def custom_resource_definition(obj: Object) -> None:
    spec = obj["spec"]
    names = spec["names"]
    if not names.get("singular") and names.get("kind"):
        names["singular"] = names["kind"].lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = f"{names['kind']}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = conversion.get("webhook", {}).get("clientConfig", {}).get("service")
    if service is not None:
        service.setdefault("port", 443)
    if not obj["status"].get("storedVersions"):
        # PrepareForCreate: the storage version is stored from the start
        obj["status"]["storedVersions"] = [v["name"] for v in spec.get("versions") or () if v.get("storage")]


def resource_claim(obj: Object) -> None:
    """A ResourceClaim, or the spec of a template, which has the same `spec`."""
    for request in obj["spec"]["devices"].get("requests") or ():
        for one in [request.get("exactly"), *(request.get("firstAvailable") or ())]:
            if one is None:
                continue
            if not one.get("allocationMode"):
                one["allocationMode"] = "ExactCount"
            if one["allocationMode"] == "ExactCount" and not one.get("count"):
                one["count"] = 1
            for toleration in one.get("tolerations") or ():
                if not toleration.get("operator"):
                    toleration["operator"] = "Equal"
