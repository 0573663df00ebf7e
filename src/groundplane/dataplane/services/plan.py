"""What packets to a Service should find: a pure function from a Service and its EndpointSlices.

A *front* is where clients send: an address, a protocol, a port. A *shape* says what happens there: refuse, drop, or
pick among so many endpoints. *Backends* are endpoints under a front, each in a numbered slot. Rules are kube-proxy's
(Kubernetes v1.36, pkg/proxy/topology.go CategorizeEndpoints, pkg/proxy/nftables/proxier.go):

    ready endpoints, else those that are terminating but still serving   (KEP-1669)
    no endpoint at all                          → refuse: ICMP port unreachable
    policy Local, endpoints only on other nodes → drop, so that a load balancer looks elsewhere

Not acted on yet: externalIPs and load-balancer addresses, topology hints, health-check node ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from groundplane.client.contract import Object

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
UDP = PROTOCOLS["UDP"]

# Node ports have no address of their own; their fronts stand under these two, which no packet carries.
ANY_NODE = "0.0.0.0"  # endpoints of the whole cluster
THIS_NODE = "0.0.0.1"  # endpoints of this node (externalTrafficPolicy: Local)

_DEFAULT_AFFINITY_SECONDS = 10800  # core/v1 DefaultClientIPServiceAffinitySeconds


class Front(NamedTuple):
    address: str
    protocol: int  # an IP protocol number
    port: int


class Backend(NamedTuple):
    address: str
    port: int


class Shape(NamedTuple):
    """What a front does. `kind`: reject, drop, cluster, node (masqueraded), or node-local (sources are kept)."""

    kind: str
    slots: tuple[int, ...] = ()
    local: tuple[int, ...] = ()  # node-local: slots below THIS_NODE; `slots` then serve this node's own clients
    sticky: int = 0  # seconds for which a client keeps its endpoint; 0: every connection picks anew


REJECT = Shape("reject")
DROP = Shape("drop")

Slots = Mapping[Front, Mapping[Backend, int]]


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """All of one Service. `active` are the addresses of endpoints in use that are not terminating."""

    shapes: Mapping[Front, Shape] = field(default_factory=dict)
    backends: Slots = field(default_factory=dict)
    active: frozenset[str] = frozenset()


class _Endpoint(NamedTuple):
    backend: Backend
    ready: bool
    leaving: bool  # terminating, and still serving
    local: bool


def plan_service(service: Object, slices: Iterable[Object], node: str, before: Slots, dns_ip: str = "") -> ServicePlan:
    """The plan of one Service; `before` are the backends until now, whose slots are kept where they can be.

    On `dns_ip` every node answers DNS itself, so the Service that names it is no front there.
    """
    addresses = cluster_addresses(service)
    if not addresses or _is_others(service):
        return ServicePlan()
    spec = service["spec"]
    plan = _Builder(_sticky(spec), before)
    known = list(slices)
    for port in spec.get("ports") or ():
        protocol = PROTOCOLS.get(port.get("protocol") or "TCP")
        if protocol is None:
            continue
        endpoints = _endpoints(known, port.get("name") or "", port.get("protocol") or "TCP", node)
        plan.active.update(e.backend.address for e in endpoints if e.ready)
        internal_local = spec.get("internalTrafficPolicy") == "Local"
        for address in addresses:
            if (address, port["port"]) == (dns_ip, 53):
                continue
            plan.add_cluster(Front(address, protocol, port["port"]), endpoints, only_local=internal_local)
        if port.get("nodePort") and spec.get("type") in ("NodePort", "LoadBalancer"):
            external_local = spec.get("externalTrafficPolicy") == "Local"
            plan.add_node(protocol, port["nodePort"], endpoints, only_local=external_local)
    return ServicePlan(plan.shapes, plan.backends, frozenset(plan.active))


def cluster_addresses(service: Object) -> list[str]:
    """The Service's virtual IPv4 addresses: none for ExternalName and headless Services."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return []
    listed = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [a for a in listed if is_ipv4(a)]


def is_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address in its usual form (`10.1`, which inet_aton takes, is not)."""
    try:
        return str(IPv4Address(text)) == text
    except ValueError:
        return False


def _is_others(service: Object) -> bool:
    """Upstream's label that leaves a Service to another proxy."""
    return "service.kubernetes.io/service-proxy-name" in (service["metadata"].get("labels") or {})


def _sticky(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client.get("timeoutSeconds") or _DEFAULT_AFFINITY_SECONDS)


def _endpoints(slices: Sequence[Object], name: str, protocol: str, node: str) -> list[_Endpoint]:
    """The endpoints of one Service port, in a stable order; one that stands in two slices counts once, ready if any."""
    found: dict[Backend, _Endpoint] = {}
    for one in slices:
        if one.get("addressType") != "IPv4":
            continue
        for port in one.get("ports") or ():
            number = port.get("port")
            if not number or (port.get("name") or "") != name or (port.get("protocol") or "TCP") != protocol:
                continue
            for endpoint in one.get("endpoints") or ():
                read = _endpoint(endpoint, number, node)
                if read is not None and not (read.backend in found and found[read.backend].ready):
                    found[read.backend] = read
    return [found[key] for key in sorted(found)]


def _endpoint(endpoint: Object, port: int, node: str) -> _Endpoint | None:
    addresses = endpoint.get("addresses")
    if not addresses or not is_ipv4(addresses[0]):
        return None
    # discovery/v1 EndpointConditions: unknown ready and serving count as true, unknown terminating as false.
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    leaving = conditions.get("serving") is not False and conditions.get("terminating") is True
    # Only the first address is used: kube-proxy and the API's documentation treat all as one endpoint.
    return _Endpoint(Backend(addresses[0], port), ready, leaving, endpoint.get("nodeName") == node)


def _usable(endpoints: Sequence[_Endpoint], *, only_local: bool) -> list[Backend]:
    here = [e for e in endpoints if e.local or not only_local]
    ready = [e.backend for e in here if e.ready]
    return ready or [e.backend for e in here if e.leaving]


class _Builder:
    """Collects the fronts of one Service."""

    def __init__(self, sticky: int, before: Slots) -> None:
        self.shapes: dict[Front, Shape] = {}
        self.backends: dict[Front, Mapping[Backend, int]] = {}
        self.active: set[str] = set()
        self._sticky = sticky
        self._before = before

    def add_cluster(self, front: Front, endpoints: Sequence[_Endpoint], *, only_local: bool) -> None:
        usable = _usable(endpoints, only_local=only_local)
        if usable:
            self.shapes[front] = Shape("cluster", self._place(front, usable), sticky=self._sticky)
        else:
            self.shapes[front] = DROP if _usable(endpoints, only_local=False) else REJECT

    def add_node(self, protocol: int, port: int, endpoints: Sequence[_Endpoint], *, only_local: bool) -> None:
        front = Front(ANY_NODE, protocol, port)
        everywhere = _usable(endpoints, only_local=False)
        if not everywhere:
            self.shapes[front] = REJECT
            return
        slots = self._place(front, everywhere)
        if not only_local:
            self.shapes[front] = Shape("node", slots, sticky=self._sticky)
            return
        local = self._place(Front(THIS_NODE, protocol, port), _usable(endpoints, only_local=True))
        self.shapes[front] = Shape("node-local", slots, local, sticky=self._sticky)

    def _place(self, front: Front, usable: Sequence[Backend]) -> tuple[int, ...]:
        slots = assign(self._before.get(front, {}), usable, sparse=bool(self._sticky))
        if slots:
            self.backends[front] = slots
        return tuple(sorted(slots.values()))


def assign(before: Mapping[Backend, int], wanted: Sequence[Backend], *, sparse: bool) -> dict[Backend, int]:
    """A slot for each backend, moving as few as possible.

    Slots are 0 … n-1, because a random number picks one. `sparse` slots may have holes and never move: a client that is
    kept to its endpoint is remembered by slot.
    """
    limit = max(before.values(), default=-1) + 1 + len(wanted) if sparse else len(wanted)
    kept = {b: before[b] for b in wanted if b in before and before[b] < limit}
    free = iter(sorted(set(range(limit)) - set(kept.values())))
    return {backend: kept[backend] if backend in kept else next(free) for backend in wanted}
