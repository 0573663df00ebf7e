"""The Endpoints object of a Service. Pure. pkg/controller/endpoint/endpoints_controller.go, pkg/api/v1/endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groundplane.base.jsonyaml import dumps
from groundplane.client.contract import Object
from groundplane.client.objects import annotations_of, labels_of, name_of, namespace_of
from groundplane.controllers.pods import is_ready
from groundplane.controllers.service_pods import (
    HEADLESS_LABEL,
    addresses_of,
    can_back,
    hostname_of,
    is_headless,
    ports_for,
    target_of,
)

MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGER_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"


def subsets(service: Object, pods: Iterable[Object]) -> list[Object]:
    """Addresses with the same ports together, sorted, ready ones apart from those that are not."""
    spec: dict[str, Any] = service.get("spec") or {}
    always = bool(spec.get("publishNotReadyAddresses"))
    groups: dict[bytes, Object] = {}
    for pod in pods:
        address = _address(service, pod)
        if address is None or not can_back(pod, include_terminating=always):
            continue
        ports = ports_for(service, pod)
        if not ports and spec.get("ports"):
            continue
        group = groups.setdefault(dumps(ports), {"addresses": [], "notReadyAddresses": [], "ports": _named(ports)})
        group["addresses" if always or is_ready(pod) else "notReadyAddresses"].append(address)
    return [_tidy(groups[key]) for key in sorted(groups)]


def endpoints(service: Object, pods: Iterable[Object], old: Object | None) -> Object:
    """The object as it should be; `old` lends what others may have added."""
    wanted = subsets(service, pods)
    kept, truncated = _limited(wanted)
    labels = {k: v for k, v in labels_of(service).items() if k != HEADLESS_LABEL} | {MANAGER_LABEL: MANAGER}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    annotations = {k: v for k, v in annotations_of(old or {"metadata": {}}).items() if k != OVER_CAPACITY}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    base = old["metadata"] if old is not None else {"name": name_of(service), "namespace": namespace_of(service)}
    meta = {**base, "labels": labels}
    if annotations:
        meta["annotations"] = annotations
    else:
        meta.pop("annotations", None)
    made: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta}
    return {**made, "subsets": kept} if kept else made


def _address(service: Object, pod: Object) -> Object | None:
    families = (service.get("spec") or {}).get("ipFamilies") or ["IPv4"]
    ip = next((a for a in addresses_of(pod) if (":" in a) == (families[0] == "IPv6")), None)
    if ip is None:
        return None
    address: Object = {"ip": ip, "targetRef": target_of(pod)}
    if node := (pod.get("spec") or {}).get("nodeName"):
        address["nodeName"] = node
    if hostname := hostname_of(service, pod):
        address["hostname"] = hostname
    return address


def _named(ports: list[Object]) -> list[Object]:
    """Endpoints leave an empty port name out, slices keep it."""
    return [{k: v for k, v in port.items() if v != ""} for port in ports]


def _tidy(group: Object) -> Object:
    for word in ("addresses", "notReadyAddresses"):
        group[word].sort(key=lambda a: (a["ip"], a["targetRef"]["uid"]))
    return {key: value for key, value in group.items() if value}


def _limited(groups: list[Object]) -> tuple[list[Object], bool]:
    """At most 1,000 addresses, ready ones first (KEP-752 moved larger Services to slices)."""
    room = MAX_ADDRESSES
    total = sum(len(g.get("addresses", ())) + len(g.get("notReadyAddresses", ())) for g in groups)
    if total <= room:
        return groups, False
    result = [dict(group) for group in groups]
    for word in ("addresses", "notReadyAddresses"):
        for group in result:
            group[word] = group.get(word, [])[:room]
            room -= len(group[word])
    return [tidy for group in result if len(tidy := {k: v for k, v in group.items() if v}) > 1], True
