"""Services and what is before and behind them."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.tables.cells import NONE, UNSET, age, joined, labels, name, selector, shortened

Object = dict[str, Any]
Cells = list[Any]


def service(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    addresses = spec.get("clusterIPs") or ()
    internal = addresses[0] if addresses else spec.get("clusterIP") or NONE
    ports = [_service_port(port) for port in spec.get("ports") or ()]
    return [
        name(obj), spec.get("type", ""), internal, _external(obj), joined(ports), age(obj, now),
        labels(spec.get("selector")),
    ]  # fmt: skip


def _service_port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node}/{port.get('protocol', '')}"


def _external(obj: Object) -> str:
    spec = obj["spec"]
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            given = _ingress_addresses(obj["status"]) + list(spec.get("externalIPs") or ())
            return joined(given, "<pending>")
        case "ClusterIP" | "NodePort":
            return joined(spec.get("externalIPs") or ())
    return "<unknown>"


def _ingress_addresses(status: Object) -> list[str]:
    found = status["loadBalancer"].get("ingress") or ()
    return list(dict.fromkeys(one.get("ip") or one.get("hostname") or "" for one in found))


def endpoints(obj: Object, now: float) -> Cells:
    found = []
    for subset in obj.get("subsets") or ():
        addresses = [one.get("ip", "") for one in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            found += addresses
        for port in ports:
            found += [_host_port(address, port.get("port", 0)) for address in addresses]
    return [name(obj), shortened(found, 3) or NONE, age(obj, now)]


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoint_slice(obj: Object, now: float) -> Cells:
    ports = [str(port["port"]) if port.get("port") is not None else "*" for port in obj.get("ports") or ()]
    addresses = [one for endpoint in obj.get("endpoints") or () for one in endpoint.get("addresses") or ()]
    return [
        name(obj), obj.get("addressType", ""), shortened(ports, 3) or UNSET, shortened(addresses, 3) or UNSET,
        age(obj, now),
    ]  # fmt: skip


def ingress(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    return [
        name(obj), spec.get("ingressClassName") or NONE, shortened(hosts, 3) or "*",
        ",".join(_ingress_addresses(obj["status"])), "80, 443" if spec.get("tls") else "80", age(obj, now),
    ]  # fmt: skip


def ingress_class(obj: Object, now: float) -> Cells:
    parameters = obj["spec"].get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name(obj), obj["spec"].get("controller", ""), shown, age(obj, now)]


def network_policy(obj: Object, now: float) -> Cells:
    return [name(obj), selector(obj["spec"].get("podSelector") or {}), age(obj, now)]


def service_cidr(obj: Object, now: float) -> Cells:
    return [name(obj), ",".join(obj["spec"].get("cidrs") or ()), age(obj, now)]


def ip_address(obj: Object, now: float) -> Cells:
    parent = obj["spec"].get("parentRef") or {}
    parts = (parent.get("group"), parent.get("resource"), parent.get("namespace"), parent.get("name"))
    where = ".".join(part for part in parts[:2] if part)
    return [name(obj), "/".join([where, *(part for part in parts[2:] if part)])]
