"""A Service's fields that follow from others: address families, and clusterIP beside clusterIPs.

pkg/registry/core/service/storage: normalizeClusterIPs, initIPFamilyFields; the rest is `kinds.services`. This
cluster has one family, IPv4; what asks for two is answered as upstream answers on a single-stack cluster.
"""

from __future__ import annotations

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.kinds import services

HEADLESS = "None"


def needs_ip(service: Object) -> bool:
    spec = service.get("spec") or {}
    return services.needs_cluster_ip(spec) and spec.get("clusterIP") != HEADLESS


def filled(obj: Object, old: Object | None) -> Object:
    """The Service with the derived fields set. Raises Invalid."""
    spec = dict(obj.get("spec") or {})
    new = {**obj, "spec": spec}
    _match(spec, (old or {}).get("spec"))
    if spec.get("type") != "ExternalName" and (causes := _set_families(spec)):
        raise statuses.invalid("", "Service", obj["metadata"].get("name", ""), causes)
    return new


def _set_families(spec: Object) -> list[statuses.FieldCause]:
    """Default policy and families; what is wrong with those that were asked for."""
    wanted = list(spec.get("ipFamilies") or ())
    # Without a selector its endpoints are somebody else's, of whatever family, so that nothing is refused.
    anything = spec.get("clusterIP") == HEADLESS and not spec.get("selector")
    policy = spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or ("RequireDualStack" if anything else "SingleStack")
    spec["ipFamilies"] = wanted or ["IPv4"]
    if policy == "SingleStack" and len(wanted) == 2:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        return [_invalid("spec.ipFamilyPolicy", policy, why)]
    if anything:
        if policy != "SingleStack" and len(spec["ipFamilies"]) == 1:
            spec["ipFamilies"].append("IPv6" if spec["ipFamilies"] == ["IPv4"] else "IPv4")
        return []
    causes = []
    if policy == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        causes.append(_invalid("spec.ipFamilyPolicy", policy, why))
    return causes + [
        _invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(wanted)
        if family != "IPv4"
    ]


def _invalid(field: str, value: str, why: str) -> statuses.FieldCause:
    return statuses.FieldCause("FieldValueInvalid", field, f'Invalid value: "{value}": {why}')


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
