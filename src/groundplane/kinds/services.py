"""What a Service keeps over an update, and loses with its type (pkg/registry/core/service/storage).

Addresses and node ports are allocated by the API server; these rules say which of the old ones an update goes on with.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

CLUSTER_IP_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def needs_cluster_ip(spec: Object) -> bool:
    return spec.get("type") in CLUSTER_IP_TYPES


def needs_node_port(spec: Object) -> bool:
    """Also a LoadBalancer may say that it wants none."""
    if spec.get("type") == "LoadBalancer":
        return bool(spec.get("allocateLoadBalancerNodePorts", True))
    return spec.get("type") == "NodePort"


def needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def normalize_cluster_ips(new: Object, old: Object | None) -> None:
    """clusterIP and clusterIPs say the same; an old client knows only the first (NormalizeClusterIPs); in place."""
    address, addresses = new.get("clusterIP", ""), new.get("clusterIPs") or []
    if old is None:
        if address and not addresses:
            new["clusterIPs"] = [address]
        return
    before, all_before = old.get("clusterIP", ""), old.get("clusterIPs") or []
    if address == before or addresses != all_before:
        return  # unchanged, or the client knows both
    if address:
        new["clusterIPs"] = [address]
    else:
        new.pop("clusterIPs", None)


def carry_allocated(new: Object, old: Object) -> None:
    """A client that leaves out what the server allocated means to keep it (patchAllocatedValues); in place."""
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not new.get("clusterIP"):
            _take(new, old, "clusterIP")
        if not new.get("clusterIPs") and new.get("clusterIP") == old.get("clusterIP"):
            _take(new, old, "clusterIPs")
    if needs_node_port(old) and needs_node_port(new):
        _carry_node_ports(new, old)
    if needs_health_port(old) and needs_health_port(new) and not new.get("healthCheckNodePort"):
        _take(new, old, "healthCheckNodePort")


def _take(new: Object, old: Object, name: str) -> None:
    if old.get(name):
        new[name] = old[name]


def _carry_node_ports(new: Object, old: Object) -> None:
    known = {
        (port.get("protocol"), port["port"]): port["nodePort"]
        for port in old.get("ports") or ()
        if port.get("nodePort")
    }
    used = {port.get("nodePort") for port in new.get("ports") or ()}
    for port in new.get("ports") or ():
        if not port.get("nodePort"):
            kept = known.get((port.get("protocol"), port["port"]))
            if kept and kept not in used:
                port["nodePort"] = kept
                used.add(kept)


def drop_by_type(new: Object, old: Object) -> None:
    """What the old type needed and the new one does not is dropped, where the client left it as it was; in place."""
    if needs_cluster_ip(old) and not needs_cluster_ip(new) and _same(new, old, "clusterIP", "clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            new.pop(name, None)
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if _same(new, old, name):
                new.pop(name, None)
    if needs_node_port(old) and not needs_node_port(new) and _same_node_ports(new, old):
        for port in new.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_port(old) and not needs_health_port(new) and _same(new, old, "healthCheckNodePort"):
        new.pop("healthCheckNodePort", None)
    if old.get("type") == "LoadBalancer" != new.get("type"):
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if _same(new, old, name):
                new.pop(name, None)
    reachable = new.get("type") in NODE_PORT_TYPES or new.get("externalIPs")
    if not reachable and _same(new, old, "externalTrafficPolicy"):
        new.pop("externalTrafficPolicy", None)
    if not needs_cluster_ip(new) and _same(new, old, "internalTrafficPolicy"):
        new.pop("internalTrafficPolicy", None)


def _same(new: Object, old: Object, *names: str) -> bool:
    return all(new.get(name) == old.get(name) for name in names)


def _same_node_ports(new: Object, old: Object) -> bool:
    """Whether every node port named in the new Service is one of the old one's."""
    known = {port.get("nodePort") for port in old.get("ports") or ()}
    return all(port.get("nodePort") in known or not port.get("nodePort") for port in new.get("ports") or ())
