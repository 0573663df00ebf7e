"""Ingresses, their classes, network policies, service ranges (pkg/apis/networking/validation)."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import names, selection
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, required, unsupported
from groundplane.kinds.validation.numbers import immutable, one_of

Object = dict[str, Any]

_PATHS = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES, _BAD_ENDINGS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def ingress(obj: Object) -> Errors:
    spec = obj["spec"]
    errors: Errors = []
    backend, rules = spec.get("defaultBackend"), spec.get("rules") or ()
    if not rules and backend is None:
        errors.append(invalid("spec", rules or None, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        errors += _backend(backend, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        errors += _rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            check = names.wildcard_subdomain if "*" in host else names.subdomain
            errors += [invalid(f"spec.tls[{index}].hosts[{number}]", host, message) for message in check(host)]
    chosen = spec.get("ingressClassName")
    if chosen is not None:
        errors += [invalid("spec.ingressClassName", chosen, message) for message in names.subdomain(chosen)]
    return errors


def _rule(rule: Object, path: str) -> Errors:
    errors: Errors = []
    host = rule.get("host", "")
    if host:
        if names.parse_ip(host) is not None:
            errors.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        check = names.wildcard_subdomain if "*" in host else names.subdomain
        errors += [invalid(f"{path}.host", host, message) for message in check(host)]
    http = rule.get("http")
    if http is None:
        return errors
    if not http.get("paths"):
        errors.append(required(f"{path}.http.paths"))
    for index, found in enumerate(http.get("paths") or ()):
        errors += _path(found, f"{path}.http.paths[{index}]")
    return errors


def _path(found: Object, path: str) -> Errors:
    value, kind = found.get("path", ""), found.get("pathType")
    errors: Errors = []
    if kind is None:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
    elif kind in ("Exact", "Prefix"):
        if not value.startswith("/"):
            errors.append(invalid(f"{path}.path", value, "must be an absolute path"))
        if value:
            for bad in _BAD_SEQUENCES:
                if bad in value:
                    errors.append(invalid(f"{path}.path", value, f"must not contain '{bad}'"))
            for bad in _BAD_ENDINGS:
                if value.endswith(bad):
                    errors.append(invalid(f"{path}.path", value, f"cannot end with '{bad}'"))
    elif kind == "ImplementationSpecific":
        if value and not value.startswith("/"):
            errors.append(invalid(f"{path}.path", value, "must be an absolute path"))
    else:
        errors.append(unsupported(f"{path}.pathType", kind, _PATHS))
    return errors + _backend(found.get("backend") or {}, f"{path}.backend")


def _backend(backend: Object, path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return [required(f"{path}.resource.{name}") for name in ("kind", "name") if not resource.get(name)]
    if service is None:
        return [required(path, "resource or service backend is required")]
    errors: Errors = []
    name = service.get("name", "")
    if not name:
        errors.append(required(f"{path}.service.name"))
    else:
        errors += [invalid(f"{path}.service.name", name, message) for message in names.label_1035(name)]
    port = service.get("port") or {}
    word, number = port.get("name", ""), port.get("number", 0)
    if word and number:
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif word:
        errors += [invalid(f"{path}.service.port.name", word, message) for message in names.port_name(word)]
    elif number:
        errors += [invalid(f"{path}.service.port.number", number, m) for m in names.port_number(number)]
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def ingress_class(obj: Object) -> Errors:
    parameters = obj["spec"].get("parameters")
    errors: Errors = []
    if parameters is not None:
        errors += one_of(parameters.get("scope") or "", "spec.parameters.scope", ("Cluster", "Namespace"))
    return errors + _controller(obj["spec"].get("controller", ""))


def _controller(controller: str) -> Errors:
    if len(controller) > 250:
        return [invalid("spec.controller", controller, "must be no more than 250 bytes")]
    if not controller:
        return [required("spec.controller")]
    domain, slash, rest = controller.partition("/")
    if not slash or names.subdomain(domain) or not rest:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [invalid("spec.controller", controller, text)]
    return []


def ingress_class_update(new: Object, old: Object) -> Errors:
    return ingress_class(new) + immutable(new["spec"], old["spec"], "spec", "controller")


def network_policy(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = selection.label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                errors += _policy_port(port, f"{where}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{where}.{peers}[{number}]")
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        text = "may not specify more than two policyTypes"
        return [*errors, invalid("spec.policyTypes", kinds, text)]
    for index, kind in enumerate(kinds):
        if kind not in ("Ingress", "Egress"):
            errors.append(unsupported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress")))
    return errors


def _policy_port(port: Object, path: str) -> Errors:
    errors: Errors = []
    protocol, value, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
    if value is not None:
        check = names.port_number if isinstance(value, int) else names.port_name
        errors += [invalid(f"{path}.port", value, message) for message in check(value)]
    if end is not None:
        if value is None or isinstance(value, str):
            why = "not specified" if value is None else "non-numeric"
            errors.append(invalid(f"{path}.endPort", end, f"may not be specified when `port` is {why}"))
        elif end < value:
            errors.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
        errors += [invalid(f"{path}.endPort", end, message) for message in names.port_number(end)]
    return errors


def _peer(peer: Object, path: str) -> Errors:
    errors = selection.label_selector(peer.get("podSelector"), f"{path}.podSelector")
    errors += selection.label_selector(peer.get("namespaceSelector"), f"{path}.namespaceSelector")
    block = peer.get("ipBlock")
    if block is not None:
        errors += _block(block, f"{path}.ipBlock")
        if "podSelector" in peer or "namespaceSelector" in peer:
            errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    elif "podSelector" not in peer and "namespaceSelector" not in peer:
        errors.append(required(path, "must specify a peer"))
    return errors


def _block(block: Object, path: str) -> Errors:
    value = block.get("cidr", "")
    if not value:
        return [required(f"{path}.cidr")]
    errors = [invalid(f"{path}.cidr", value, message) for message in names.cidr(value)]
    network = names.parse_cidr(value)
    for index, text in enumerate(block.get("except") or ()):
        where = f"{path}.except[{index}]"
        inner = names.parse_cidr(text)
        if inner is None:
            errors += [invalid(where, text, message) for message in names.cidr(text)]
        elif network is not None:
            inside = inner.version == network.version and inner.prefixlen > network.prefixlen
            if not inside or inner.network_address not in network:
                errors.append(invalid(where, text, "must be a strict subset of `cidr`"))
    return errors


def service_cidr(obj: Object) -> Errors:
    found = obj["spec"].get("cidrs") or []
    if not found:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(found) > 2:
        return [invalid("spec", found, "may only hold up to 2 values")]
    errors: Errors = []
    for index, text in enumerate(found):
        errors += [invalid(f"spec.cidrs[{index}]", text, message) for message in names.cidr(text)]
    networks = [names.parse_cidr(text) for text in found]
    if len(networks) == 2 and networks[0] and networks[1] and networks[0].version == networks[1].version:
        text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(invalid("spec", found, text))
    return errors


def service_cidr_update(new: Object, old: Object) -> Errors:
    before, after = old["spec"].get("cidrs") or [], new["spec"].get("cidrs") or []
    if after[: len(before)] != before:
        return [invalid("spec.cidrs", after, "field is immutable")]
    return service_cidr(new)


def ip_address(obj: Object) -> Errors:
    errors: Errors = []
    name = obj["metadata"].get("name", "")
    ip = names.parse_ip(name)
    if ip is None or str(ip) != name:
        errors.append(invalid("metadata.name", name, "must be a valid IP address in canonical form"))
    parent = obj["spec"].get("parentRef")
    if parent is None:
        return [*errors, required("spec.parentRef")]
    for field in ("resource", "name"):
        if not parent.get(field):
            errors.append(required(f"spec.parentRef.{field}"))
    return errors


def ip_address_update(new: Object, old: Object) -> Errors:
    return immutable(new["spec"], old["spec"], "spec", "parentRef")
