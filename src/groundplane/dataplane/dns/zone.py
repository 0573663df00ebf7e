"""The names of the cluster (Kubernetes DNS specification 1.1.0; where it is silent, CoreDNS 1.11's kubernetes plugin).

    SVC.NS.svc.DOMAIN                   A      the virtual address; headless: every ready endpoint's
    HOST.SVC.NS.svc.DOMAIN              A      a headless Service's endpoint, by its hostname or its dashed address
    _PORT._PROTO.SVC.NS.svc.DOMAIN      SRV    port and SVC…; headless: one per endpoint
    SVC.NS.svc.DOMAIN                   CNAME  of an ExternalName Service
    A-B-C-D.NS.pod.DOMAIN               A      A.B.C.D, whether there is such a pod or not (CoreDNS: `pods insecure`)
    D.C.B.A.in-addr.arpa                PTR    of a virtual address, or of an endpoint that has a hostname
    dns-version.DOMAIN                  TXT    "1.1.0"

A name that exists without records of the type asked for (AAAA, mostly) is an empty answer, not an error: resolvers ask
for both families and take an error of one as final. Errors and empty answers carry the SOA, whose last number says how
long they may be remembered.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from groundplane.client.contract import Object
from groundplane.dataplane.services.plan import cluster_addresses, is_ipv4
from groundplane.wire import dns
from groundplane.wire.dns import Name, Record

TTL = 5  # CoreDNS's own default: short, because endpoints of headless Services come and go
VERSION = "1.1.0"


@dataclass(frozen=True, slots=True)
class Answer:
    """`exists` is false for a name error. `elsewhere` is the target of the last CNAME where it is not in this zone."""

    exists: bool
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    elsewhere: Name | None = None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    host: str  # its hostname, or its address with dashes
    named: bool
    address: str
    ports: tuple[tuple[str, str, int], ...]  # (name, protocol in lower case, number)


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    namespace: str
    addresses: tuple[str, ...]  # virtual; none: headless
    external: str
    ports: tuple[tuple[str, str, int], ...]
    endpoints: tuple[_Endpoint, ...]


class Zone:
    """All names below one domain, and the reverse names of the cluster's ranges."""

    def __init__(self, domain: str, dns_ip: str, ranges: Sequence[IPv4Network]) -> None:
        self.origin = dns.fold(dns.name(domain))
        self._dns_ip = dns_ip
        self._ranges = ranges
        self._services: dict[tuple[str, str], _Service] = {}
        self._namespaces: dict[str, int] = {}
        self._reverse: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}

    def set(self, service: Object, slices: Iterable[Object]) -> None:
        """A Service is new, or it or its slices changed."""
        read = _read(service, slices)
        key = (read.namespace, read.name)
        self.drop(*key)
        self._services[key] = read
        self._namespaces[read.namespace] = self._namespaces.get(read.namespace, 0) + 1
        for address, hosts in _reverse_names(read):
            self._reverse.setdefault(address, {})[key] = hosts

    def drop(self, namespace: str, name: str) -> None:
        """A Service is gone; nothing happens where it was not there."""
        old = self._services.pop((namespace, name), None)
        if old is None:
            return
        self._namespaces[namespace] -= 1
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]
        for address, _ in _reverse_names(old):
            names = self._reverse[address]
            names.pop((namespace, name), None)
            if not names:
                del self._reverse[address]

    def holds(self, name: Name) -> bool:
        """Whether this zone, and nobody else, answers for a name."""
        folded = dns.fold(name)
        if folded[-len(self.origin) :] == self.origin:
            return True
        address = _reversed_address(folded)
        return address is not None and any(address in r for r in self._ranges)

    def authority(self) -> Record:
        """The SOA that goes with errors and empty answers."""
        primary = (b"ns", b"dns", *self.origin)
        return Record(self.origin, dns.SOA, TTL, dns.soa(primary, (b"hostmaster", *self.origin), 1, TTL))

    def answer(self, name: Name, kind: int) -> Answer:
        """What stands under `name` of type `kind`; CNAMEs are followed inside the zone."""
        records: list[Record] = []
        additional: tuple[Record, ...] = ()
        for _ in range(8):  # ExternalName Services may point at each other
            found = self._lookup(name)
            if found is None:
                return Answer(bool(records), tuple(records))
            alias = [r for r in found.records if r.type == dns.CNAME]
            if not alias or kind in (dns.CNAME, dns.ANY):
                wanted = tuple(r for r in found.records if kind in (r.type, dns.ANY))
                additional = found.additional if wanted else ()
                return Answer(True, (*records, *wanted), additional)
            records += alias
            name = dns.target_of(alias[0])
            if not self.holds(name):
                return Answer(True, tuple(records), elsewhere=name)
        return Answer(True, tuple(records))

    def _lookup(self, name: Name) -> Answer | None:
        """All records of a name; None where there is no such name."""
        folded = dns.fold(name)
        if folded[-len(self.origin) :] != self.origin:
            return self._of_address(name, folded)
        inner = tuple(label.decode("ascii", "replace") for label in folded[: -len(self.origin)])
        match inner:
            case ():
                ns = (b"ns", b"dns", *self.origin)
                return Answer(True, (self.authority(), Record(name, dns.NS, TTL, dns.pack_name(ns))))
            case ("dns-version",):
                return Answer(True, (Record(name, dns.TXT, TTL, dns.txt(VERSION)),))
            case ("ns", "dns"):
                return Answer(True, (_a(name, self._dns_ip),))
            case ("dns",) | ("svc",) | ("pod",):
                return Answer(True)
            case (*rest, namespace, "svc"):
                return self._of_service(name, tuple(rest), namespace)
            case (dashed, _, "pod"):
                address = _address(dashed.replace("-", "."))
                return Answer(True, (_a(name, address),)) if address else None
            case (namespace, "pod"):
                return Answer(True) if namespace in self._namespaces else None
        return None

    def _of_service(self, name: Name, rest: tuple[str, ...], namespace: str) -> Answer | None:
        if not rest:
            return Answer(True) if namespace in self._namespaces else None
        service = self._services.get((namespace, rest[-1]))
        if service is None:
            return None
        match rest[:-1]:
            case ():
                return self._itself(name, service)
            case (host,) if not host.startswith("_"):
                if service.addresses:
                    return None
                records = tuple(_a(name, e.address) for e in service.endpoints if e.host == host)
                return Answer(True, records) if records else None
            case (protocol,) if protocol in ("_tcp", "_udp", "_sctp"):
                return Answer(True)
            case (port, protocol) if port.startswith("_") and protocol.startswith("_"):
                return self._srv(name, service, port[1:], protocol[1:])
        return None

    def _itself(self, name: Name, service: _Service) -> Answer | None:
        if service.external:
            return Answer(True, (Record(name, dns.CNAME, TTL, dns.pack_name(dns.name(service.external))),))
        if service.addresses:
            return Answer(True, tuple(_a(name, a) for a in service.addresses))
        addresses = sorted({e.address for e in service.endpoints})
        if not addresses:  # specification 2.4.1: no ready endpoint, no such name
            return None
        random.shuffle(addresses)  # clients take the first: CoreDNS's `loadbalance`
        return Answer(True, tuple(_a(name, a) for a in addresses))

    def _srv(self, name: Name, service: _Service, port: str, protocol: str) -> Answer | None:
        own = (service.name.encode(), service.namespace.encode(), b"svc", *self.origin)
        if service.addresses:
            targets = [
                (own, a, n) for a in service.addresses for p, q, n in service.ports if (p, q) == (port, protocol)
            ]
        else:
            targets = [
                ((e.host.encode(), *own), e.address, number)
                for e in service.endpoints
                for p, q, number in e.ports
                if (p, q) == (port, protocol)
            ]
        if not targets:
            return None
        weight = max(1, 100 // len(targets))
        records = [Record(name, dns.SRV, TTL, dns.srv(0, weight, number, target)) for target, _, number in targets]
        additional = dict.fromkeys(_a(target, address) for target, address, _ in targets)
        return Answer(True, tuple(dict.fromkeys(records)), tuple(additional))

    def _of_address(self, name: Name, folded: Name) -> Answer | None:
        address = _reversed_address(folded)
        if address is None:
            return None
        found: list[Record] = []
        for (namespace, service), hosts in self._reverse.get(str(address), {}).items():
            own = (service.encode(), namespace.encode(), b"svc", *self.origin)
            for host in hosts:
                target = (host.encode(), *own) if host else own
                found.append(Record(name, dns.PTR, TTL, dns.pack_name(target)))
        return Answer(True, tuple(found)) if found else None


def _a(name: Name, address: str) -> Record:
    return Record(name, dns.A, TTL, socket.inet_aton(address))


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        return ""


def _reversed_address(folded: Name) -> IPv4Address | None:
    if len(folded) != 6 or folded[4:] != (b"in-addr", b"arpa"):
        return None
    try:
        return IPv4Address(".".join(label.decode("ascii", "replace") for label in reversed(folded[:4])))
    except ValueError:
        return None


def _reverse_names(service: _Service) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(address, hosts): under which hosts of the Service an address is known; "" is the Service itself."""
    for address in service.addresses:
        yield address, ("",)
    if not service.addresses:
        named: dict[str, set[str]] = {}
        for endpoint in service.endpoints:
            if endpoint.named:
                named.setdefault(endpoint.address, set()).add(endpoint.host)
        for address, hosts in named.items():
            yield address, tuple(sorted(hosts))


def _read(service: Object, slices: Iterable[Object]) -> _Service:
    spec, metadata = service["spec"], service["metadata"]
    external = spec.get("externalName", "") if spec.get("type") == "ExternalName" else ""
    ports = tuple(
        ((p.get("name") or "").lower(), (p.get("protocol") or "TCP").lower(), p["port"])
        for p in spec.get("ports") or ()
    )
    addresses = tuple(cluster_addresses(service))
    headless = not addresses and not external
    endpoints = tuple(_read_endpoints(slices)) if headless else ()
    return _Service(metadata["name"], metadata.get("namespace", ""), addresses, external, ports, endpoints)


def _read_endpoints(slices: Iterable[Object]) -> Iterator[_Endpoint]:
    """The ready endpoints (a Service with publishNotReadyAddresses has them all marked ready by its controller)."""
    for one in slices:
        if one.get("addressType") != "IPv4":
            continue
        ports = tuple(
            ((p.get("name") or "").lower(), (p.get("protocol") or "TCP").lower(), p.get("port") or 0)
            for p in one.get("ports") or ()
        )
        for endpoint in one.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in filter(is_ipv4, endpoint.get("addresses") or ()):
                hostname = endpoint.get("hostname") or ""
                yield _Endpoint(hostname.lower() or address.replace(".", "-"), bool(hostname), address, ports)
