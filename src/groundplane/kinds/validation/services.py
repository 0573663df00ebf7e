"""Services, Endpoints and EndpointSlices (pkg/apis/core/validation, pkg/apis/discovery/validation)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groundplane.kinds import services
from groundplane.kinds.validation import internal, meta, names
from groundplane.kinds.validation.errors import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    required,
    too_many,
    unsupported,
)
from groundplane.kinds.validation.numbers import immutable, one_of
from groundplane.kinds.validation.probes import port_or_name

Object = dict[str, Any]

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


def service(obj: Object) -> Errors:
    spec = obj["spec"]
    kind, ports = spec.get("type", ""), spec.get("ports") or ()
    headless = spec.get("clusterIP") == "None"
    errors: Errors = []
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    errors += _by_type(spec, kind, headless=headless)
    errors += _ports(ports)
    errors += meta.label_errors(spec.get("selector"), "spec.selector")
    errors += _affinity(spec)
    errors += _cluster_ips(spec)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        errors += endpoint_address(address, f"spec.externalIPs[{index}]")
    errors += one_of(kind, "spec.type", _TYPES)
    errors += _node_ports(ports, kind)
    errors += _same_ports(ports)
    return errors + _load_balancer(spec, kind) + _policies(spec, kind)


def _by_type(spec: Object, kind: str, *, headless: bool) -> Errors:
    errors: Errors = []
    if kind == "LoadBalancer":
        for index, port in enumerate(spec.get("ports") or ()):
            if port.get("port") == 10250:  # a cluster's nodes would become reachable from outside
                text = "may not expose port 10250 externally since it is used by kubelet"
                errors.append(invalid(f"spec.ports[{index}]", 10250, text))
    if kind in services.NODE_PORT_TYPES and headless:
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(name):
                errors.append(forbidden(f"spec.{name}", "may not be set for ExternalName services"))
        target = spec.get("externalName", "").removesuffix(".")
        if not target:
            errors.append(required("spec.externalName"))
        errors += [invalid("spec.externalName", target, message) for message in names.subdomain(target) if target]
    return errors


def _ports(ports: Iterable[Object]) -> Errors:
    errors: Errors = []
    ports = list(ports)
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = port.get("name", "")
        if name:
            errors += [invalid(f"{where}.name", name, message) for message in names.label(name)]
            if name in seen:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
        elif len(ports) > 1:
            errors.append(required(f"{where}.name"))
        number = port.get("port", 0)
        errors += [invalid(f"{where}.port", number, message) for message in names.port_number(number)]
        errors += one_of(port.get("protocol", ""), f"{where}.protocol", _PROTOCOLS)
        errors += port_or_name(port.get("targetPort", 0), f"{where}.targetPort")
        if port.get("appProtocol") is not None:
            word = port["appProtocol"]
            errors += [invalid(f"{where}.appProtocol", word, message) for message in names.qualified_name(word)]
    return errors


def _affinity(spec: Object) -> Errors:
    kind, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    errors = one_of(kind, "spec.sessionAffinity", ("ClientIP", "None"))
    if kind == "ClientIP":
        if not config or not config.get("clientIP"):
            return [*errors, required("spec.sessionAffinityConfig", "when session affinity type is ClientIP")]
        seconds, where = config["clientIP"].get("timeoutSeconds"), "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        if seconds is None:
            errors.append(required(where, "when session affinity type is ClientIP"))
        elif not 0 < seconds <= 86400:
            errors.append(invalid(where, seconds, "must be greater than 0 and less than 86400"))
    elif kind == "None" and config is not None:
        errors.append(forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"))
    return errors


def _cluster_ips(spec: Object) -> Errors:
    if not services.needs_cluster_ip(spec):
        return []
    errors: Errors = []
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if not address and addresses:
        errors.append(invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified"))
    elif address and addresses and addresses[0] != address:
        errors.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    if len(addresses) > 2:
        errors.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    for index, one in enumerate(addresses):
        where = f"spec.clusterIPs[{index}]"
        if one == "None":
            if len(addresses) > 1:
                errors.append(invalid(where, one, "'None' must be the first and only value"))
            continue
        errors += [invalid(where, one, message) for message in names.ip_address(one)]
    allowed = ("PreferDualStack", "RequireDualStack", "SingleStack")
    if spec.get("ipFamilyPolicy") is not None:
        errors += one_of(spec["ipFamilyPolicy"], "spec.ipFamilyPolicy", allowed)
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in ("IPv4", "IPv6"):
            errors.append(unsupported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6")))
        elif family in spec["ipFamilies"][:index]:
            errors.append(duplicate(f"spec.ipFamilies[{index}]", family))
    return errors


def _node_ports(ports: Iterable[Object], kind: str) -> Errors:
    errors: Errors = []
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        number, where = port.get("nodePort", 0), f"spec.ports[{index}].nodePort"
        if not number:
            continue
        if kind == "ClusterIP":
            errors.append(forbidden(where, "may not be used when `type` is 'ClusterIP'"))
        elif (number, port.get("protocol")) in seen:
            errors.append(duplicate(where, number))
        seen.add((number, port.get("protocol")))
    return errors


def _same_ports(ports: Iterable[Object]) -> Errors:
    errors: Errors = []
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            shown = internal.shown("core.v1.ServicePort", {"protocol": key[0], "port": key[1]})
            errors.append(duplicate(f"spec.ports[{index}]", shown))
        seen.add(key)
    return errors


def _load_balancer(spec: Object, kind: str) -> Errors:
    errors: Errors = []
    only = "may only be used when `type` is 'LoadBalancer'"
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges and kind != "LoadBalancer":
        errors.append(forbidden("spec.LoadBalancerSourceRanges", only))
    for index, one in enumerate(ranges):
        errors += [invalid(f"spec.LoadBalancerSourceRanges[{index}]", one, m) for m in names.cidr(one.strip())]
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if kind != "LoadBalancer":
        if allocate is not None:
            errors.append(forbidden("spec.allocateLoadBalancerNodePorts", only))
        if spec.get("loadBalancerClass") is not None:
            errors.append(forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"))
    elif allocate is None:
        errors.append(required("spec.allocateLoadBalancerNodePorts"))
    return errors


def _policies(spec: Object, kind: str) -> Errors:
    errors: Errors = []
    external, inside = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    reachable = kind in services.NODE_PORT_TYPES or (kind == "ClusterIP" and spec.get("externalIPs"))
    if not reachable:
        if external:
            text = "may only be set for externally-accessible services"
            errors.append(invalid("spec.externalTrafficPolicy", external, text))
    else:
        errors += one_of(external or "", "spec.externalTrafficPolicy", ("Cluster", "Local"))
    health = spec.get("healthCheckNodePort", 0)
    if health and not services.needs_health_port(spec):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", health, text))
    if kind != "ExternalName" and kind in _TYPES:
        errors += one_of(inside or "", "spec.internalTrafficPolicy", ("Cluster", "Local"))
    if spec.get("trafficDistribution") is not None:
        errors += one_of(spec["trafficDistribution"], "spec.trafficDistribution", _DISTRIBUTIONS)
    return errors


def service_update(new: Object, old: Object) -> Errors:
    errors: Errors = []
    after, before = new["spec"], old["spec"]
    if services.needs_cluster_ip(after) and services.needs_cluster_ip(before):
        now, then = after.get("clusterIPs") or [], before.get("clusterIPs") or []
        if then and not now:
            errors.append(invalid("spec.clusterIPs[0]", now or None, "primary clusterIP can not be unset"))
        elif then and now[0] != then[0]:
            errors.append(invalid("spec.clusterIPs[0]", now, "may not change once set"))
        families, known = after.get("ipFamilies") or [], before.get("ipFamilies") or []
        if families and known and families[0] != known[0]:
            errors.append(invalid("spec.ipFamilies[0]", families, "may not change once set"))
    if before.get("type") == after.get("type") == "LoadBalancer":
        chosen = after.get("loadBalancerClass")
        if before.get("loadBalancerClass") != chosen:
            errors.append(invalid("spec.loadBalancerClass", chosen, "may not change once set"))
    return errors + service(new)


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


def endpoint_address(address: str, path: str) -> Errors:
    """An address that traffic can be sent to (ValidateEndpointIP)."""
    ip = names.parse_ip(address)
    if ip is None:
        return [invalid(path, address, message) for message in names.ip_address(address)]
    errors: Errors = []
    if ip.is_unspecified:
        errors.append(invalid(path, address, f"may not be unspecified ({address})"))
    if ip.is_loopback:
        errors.append(invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if ip.is_link_local:
        errors.append(invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if ip.is_multicast and (str(ip).startswith("224.0.0.") or str(ip).startswith("ff02:")):
        text = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.append(invalid(path, address, text))
    return errors


def endpoints(obj: Object) -> Errors:
    errors: Errors = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        where = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(where, "must specify `addresses` or `notReadyAddresses`"))
        for kind in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(kind) or ()):
                errors += _endpoint(address, f"{where}.{kind}[{number}]")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            errors += _endpoint_port(port, f"{where}.ports[{number}]", named=len(ports) > 1)
    return errors


def _endpoint(address: Object, path: str) -> Errors:
    errors = endpoint_address(address.get("ip", ""), f"{path}.ip")
    if address.get("hostname"):
        errors += [invalid(f"{path}.hostname", address["hostname"], m) for m in names.label(address["hostname"])]
    if address.get("nodeName") is not None:
        errors += [invalid(f"{path}.nodeName", address["nodeName"], m) for m in names.subdomain(address["nodeName"])]
    return errors


def _endpoint_port(port: Object, path: str, *, named: bool) -> Errors:
    errors: Errors = []
    if port.get("name"):
        errors += [invalid(f"{path}.name", port["name"], message) for message in names.label(port["name"])]
    elif named:
        errors.append(required(f"{path}.name"))
    number = port.get("port", 0)
    errors += [invalid(f"{path}.port", number, message) for message in names.port_number(number)]
    return errors + one_of(port.get("protocol", ""), f"{path}.protocol", _PROTOCOLS)


_MAX_ENDPOINTS, _MAX_ADDRESSES, _MAX_PORTS = 1000, 100, 20000


def endpoint_slice(obj: Object) -> Errors:
    kind = obj.get("addressType", "")
    errors = one_of(kind, "addressType", ("FQDN", "IPv4", "IPv6"))
    found = obj.get("endpoints") or ()
    if len(found) > _MAX_ENDPOINTS:
        return [*errors, too_many("endpoints", len(found), _MAX_ENDPOINTS)]
    for index, endpoint in enumerate(found):
        errors += _slice_endpoint(endpoint, f"endpoints[{index}]", kind)
    ports = obj.get("ports") or ()
    if len(ports) > _MAX_PORTS:
        return [*errors, too_many("ports", len(ports), _MAX_PORTS)]
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"ports[{index}]", port.get("name") or ""
        if name:
            errors += [invalid(f"{where}.name", name, message) for message in names.label(name)]
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        seen.add(name)
        errors += one_of(port.get("protocol") or "", f"{where}.protocol", _PROTOCOLS)
        if port.get("port") is not None and not 0 <= port["port"] <= 65535:
            errors.append(invalid(f"{where}.port", port["port"], "must be between 1 and 65535, inclusive"))
    return errors


def _slice_endpoint(endpoint: Object, path: str, kind: str) -> Errors:
    addresses, where = endpoint.get("addresses") or (), f"{path}.addresses"
    errors: Errors = []
    if not addresses:
        errors.append(required(where, "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        errors.append(too_many(where, len(addresses), _MAX_ADDRESSES))
    for index, address in enumerate(addresses):
        if kind == "FQDN":
            errors += [invalid(where, address, message) for message in names.subdomain(address)]
            continue
        errors += endpoint_address(address, f"{where}[{index}]")
        ip = names.parse_ip(address)
        if kind == "IPv4" and (ip is None or ip.version != 4):
            errors.append(invalid(where, address, "must be an IPv4 address"))
        if kind == "IPv6" and (ip is None or ip.version != 6):
            errors.append(invalid(where, address, "must be an IPv6 address"))
    if endpoint.get("hostname") is not None:
        errors += [invalid(f"{path}.hostname", endpoint["hostname"], m) for m in names.label(endpoint["hostname"])]
    if endpoint.get("nodeName") is not None:
        errors += [invalid(f"{path}.nodeName", endpoint["nodeName"], m) for m in names.subdomain(endpoint["nodeName"])]
    return errors


def endpoint_slice_update(new: Object, old: Object) -> Errors:
    return endpoint_slice(new) + immutable(new, old, "", "addressType")
