"""Kinds of the core group other than pods and volumes."""

from __future__ import annotations

import base64
from typing import Any

from groundplane.kinds.defaults import pods

Object = dict[str, Any]

_EXTERNAL = ("NodePort", "LoadBalancer")


def service(obj: Object) -> None:
    spec = obj["spec"]
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", 10800)
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (0, "", None):
            port["targetPort"] = port["port"]
    reachable = spec["type"] in _EXTERNAL or (spec["type"] == "ClusterIP" and spec.get("externalIPs"))
    if reachable and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in ("ClusterIP", *_EXTERNAL):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for ingress in obj["status"]["loadBalancer"].get("ingress") or ():
        if ingress.get("ip"):
            ingress.setdefault("ipMode", "VIP")


def secret(obj: Object) -> None:
    if not obj.get("type"):
        obj["type"] = "Opaque"
    plain = obj.pop("stringData", None)
    if plain:  # conversion: write-only, and it wins over data
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def namespace(obj: Object) -> None:
    if not obj["status"].get("phase"):
        obj["status"]["phase"] = "Active"
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def node(obj: Object) -> None:
    status = obj["status"]
    for name in ("capacity", "allocatable"):
        if name in status:
            pods.resource_list(status[name])
    if "allocatable" not in status and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])


def endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def limit_range(obj: Object) -> None:
    for item in obj["spec"].get("limits") or ():
        for name in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            if name in item:
                pods.resource_list(item[name])
        if item.get("type") != "Container":
            continue
        limits = {**item.get("max", {}), **item.get("default", {})}
        requests = {**item.get("min", {}), **limits, **item.get("defaultRequest", {})}
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def resource_quota(obj: Object) -> None:
    for holder, name in ((obj["spec"], "hard"), (obj["status"], "hard"), (obj["status"], "used")):
        if name in holder:
            pods.resource_list(holder[name])


def replication_controller(obj: Object) -> None:
    spec = obj["spec"]
    template = spec.get("template")
    labels = template["metadata"].get("labels") if template else None
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    spec.setdefault("replicas", 1)
    pods.template(template)
