"""A Service's fields that follow from others: address families, and clusterIP beside clusterIPs.

pkg/registry/core/service/storage: normalizeClusterIPs, initIPFamilyFields; the rest is `kinds.services`. This
cluster has one family, IPv4; what asks for two is answered as upstream answers on a single-stack cluster.
"""

from __future__ import annotations

from groundplane.apiserver.cache.stored import Object
from groundplane.kinds import services

HEADLESS = "None"


def needs_ip(service: Object) -> bool:
    spec = service.get("spec") or {}
    return services.needs_cluster_ip(spec) and spec.get("clusterIP") != HEADLESS


def filled(obj: Object, old: Object | None) -> Object:
    """The Service with the derived fields set."""
    spec = dict(obj.get("spec") or {})
    new = {**obj, "spec": spec}
    _match(spec, (old or {}).get("spec"))
    if spec.get("type") != "ExternalName":
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    return new


def _match(spec: Object, before: Object | None) -> None:
    """clusterIP is clusterIPs[0], whichever of the two the client wrote."""
    ip, ips = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if before is None:
        if ip and not ips:
            spec["clusterIPs"] = [ip]
        return
    same_ip, same_ips = ip == before.get("clusterIP", ""), ips == (before.get("clusterIPs") or [])
    if not same_ip and same_ips:
        spec["clusterIPs"] = [ip] if ip else []
    elif same_ip and not same_ips and not ips:
        spec["clusterIP"] = ""
    if not spec.get("clusterIPs"):
        spec.pop("clusterIPs", None)
