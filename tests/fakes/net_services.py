"""Builders for Services and EndpointSlices: a test line shows only what matters."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def service(name: str = "web", address: str = "10.96.0.20", *ports: Object, **spec: Any) -> Object:
    """A ClusterIP Service with port 80, unless `ports` (from `port`) or `spec` say otherwise."""
    body = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": list(ports) or [port(80)]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": body | spec,
    }


def port(number: int, name: str = "", protocol: str = "TCP", node_port: int = 0) -> Object:
    found: Object = {"port": number, "protocol": protocol, "targetPort": number}
    return found | ({"name": name} if name else {}) | ({"nodePort": node_port} if node_port else {})


def endpoint(address: str, node: str = "n1", **conditions: bool) -> Object:
    """Ready, unless conditions say otherwise; `pod` names make targetRefs in `slice_of`."""
    return {"addresses": [address], "nodeName": node, "conditions": {"ready": True} | conditions}


def slice_of(name: str, *endpoints: Object, to: int = 8080, port_name: str = "", protocol: str = "TCP") -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{port_name or 'x'}-{protocol.lower()}",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": port_name, "port": to, "protocol": protocol}],
        "endpoints": list(endpoints),
    }
