"""networking.k8s.io/v1 and discovery.k8s.io/v1."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def network_policy(obj: Object) -> None:
    spec = obj["spec"]
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def ingress_class(obj: Object) -> None:
    if "parameters" in obj["spec"]:
        obj["spec"]["parameters"].setdefault("scope", "Cluster")


def endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
