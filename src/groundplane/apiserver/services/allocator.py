"""Cluster IPs, node ports and health check ports of Services (pkg/registry/core/service/storage/alloc.go)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from groundplane.apiserver import statuses
from groundplane.apiserver.allocation import Allocation
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.services import families
from groundplane.apiserver.services.ranges import Full, OutOfRange, Range, Taken, ip_band, port_band
from groundplane.apiserver.services.shared import SharedRange
from groundplane.base import jsonyaml
from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.kinds import services
from groundplane.store.contract import Store, StoreError

_TRIES = 64
_log = Log("apiserver.services")


class _Session:
    """What one request took; `undo` gives it back."""

    def __init__(self) -> None:
        self.taken: list[tuple[Range, int]] = []

    def undo(self) -> None:
        for pool, number in self.taken:
            pool.free(number)
        self.taken.clear()


class ServiceAllocator:
    """One cluster's ranges. `cidr` is IPv4; `port_range` is written `30000-32767`.

    The only server of a store keeps them in memory. Where others may share the store (`share`), the numbers are in it.
    """

    def __init__(self, cidr: str, port_range: str) -> None:
        network = ipaddress.IPv4Network(cidr)
        first, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
        self._cidr = cidr
        self._ips = Range(first, last, ip_band(last - first + 1))
        self._port_text = port_range
        low, _, high = port_range.partition("-")
        self._ports = Range(int(low), int(high), port_band(int(high) - int(low) + 1))
        self._shared: dict[Range, SharedRange] = {}
        self._living: Callable[[], Iterable[Object]] = list
        self._one = asyncio.Lock()

    def share(self, store: Store, clock: Clock, living: Callable[[], Iterable[Object]]) -> None:
        """Other servers give numbers out too; `living` gives the Services that there are now."""
        self._living = living
        self._shared = {
            self._ips: SharedRange(store, clock, "serviceips", self._ips, self._cidr),
            self._ports: SharedRange(store, clock, "servicenodeports", self._ports, self._port_text),
        }

    @property
    def first_ip(self) -> str:
        """The address of the `kubernetes` Service."""
        return str(ipaddress.IPv4Address(self._ips.first))

    def restore(self, services: Iterable[Object]) -> None:
        """Take what living Services hold; at start."""
        for service in services:
            for ip in _ips(service):
                self._ips.restore(int(ip))
            for port in _ports(service):
                self._ports.restore(port)

    async def release(self, service: Object) -> None:
        """A Service is deleted."""
        await self._free({self._ips: set(map(int, _ips(service))), self._ports: set(_ports(service))})

    async def allocate(self, obj: Object, old: Object | None, *, dry_run: bool) -> Allocation:
        """The Service with everything it needs. Raises Invalid, InternalError, StoreUnavailable."""
        async with self._one:
            for _ in range(_TRIES):
                await self._load()
                session, chosen = self._choose(obj, old)
                if dry_run:
                    session.undo()
                    return Allocation(chosen)
                if await self._save(session):
                    return self._allocation(session, chosen, old)
        raise statuses.internal("failed to allocate: other servers changed the ranges again and again")

    def _choose(self, obj: Object, old: Object | None) -> tuple[_Session, Object]:
        obj = families.filled(obj, old)
        session = _Session()
        try:
            obj = self._cluster_ip(session, obj, old)
            obj = self._node_ports(session, obj, old)
            obj = self._health_port(session, obj, old)
        except BaseException:
            session.undo()
            raise
        return session, obj

    async def _load(self) -> None:
        for pool, shared in self._shared.items():
            await shared.load(self._held(pool))

    async def _save(self, session: _Session) -> bool:
        """Whether what was taken is ours; what of it was written already stays written where the rest is not."""
        saved: list[tuple[Range, int]] = []
        for pool in {pool for pool, _ in session.taken}:
            if pool in self._shared and not await self._shared[pool].save():
                await self._give_back(_grouped(saved))
                return False
            saved += [taken for taken in session.taken if taken[0] is pool]
        return True

    def _allocation(self, session: _Session, new: Object, old: Object | None) -> Allocation:
        """`new`, with what its write gives back: at a failure what it took, else what `old` held and it does not."""
        left: dict[Range, set[int]] = {}
        if old is not None:
            left[self._ips] = set(map(int, _ips(old))) - set(map(int, _ips(new)))
            left[self._ports] = set(_ports(old)) - set(_ports(new))
        return Allocation(new, lambda: self._free(_grouped(session.taken)), lambda: self._free(left))

    async def _free(self, numbers: Mapping[Range, set[int]]) -> None:
        """What the numbers were for is decided already, so nothing is refused for them any more."""
        async with self._one:
            try:
                await self._give_back(numbers)
            except (StoreError, statuses.StatusError) as error:
                _log.warning("numbers stay taken for ten minutes", error=str(error))

    async def _give_back(self, numbers: Mapping[Range, set[int]]) -> None:
        for pool, gone in numbers.items():
            if pool in self._shared and gone:
                await self._shared[pool].free(gone, self._held(pool))
            for number in gone:
                pool.free(number)

    def _held(self, pool: Range) -> list[int]:
        """The numbers that living Services have."""
        if pool is self._ips:
            return [int(ip) for service in self._living() for ip in _ips(service)]
        return [port for service in self._living() for port in _ports(service)]

    def _cluster_ip(self, session: _Session, obj: Object, old: Object | None) -> Object:
        spec = obj["spec"]
        if not families.needs_ip(obj):
            return obj
        wanted = spec.get("clusterIP", "")
        if not wanted:
            try:
                number = self._ips.take_any()
            except Full:
                raise statuses.internal("failed to allocate a serviceIP: range is full") from None
            session.taken.append((self._ips, number))
            text = str(ipaddress.IPv4Address(number))
            return {**obj, "spec": {**spec, "clusterIP": text, "clusterIPs": [text]}}
        if old is not None and families.needs_ip(old) and (old["spec"].get("clusterIP") or ""):
            return obj  # it has one already; a change is validation's to refuse
        address = _address(wanted)
        if address is None:
            return obj  # validation says so
        try:
            self._ips.take(int(address))
        except OutOfRange:
            raise self._bad_ip(obj, wanted, "the provided network does not match the current range") from None
        except Taken:
            raise self._bad_ip(obj, wanted, "provided IP is already allocated") from None
        session.taken.append((self._ips, int(address)))
        return obj

    def _bad_ip(self, obj: Object, ip: str, why: str) -> statuses.StatusError:
        shown = jsonyaml.dumps(obj["spec"].get("clusterIPs") or [ip]).decode()
        cause = statuses.FieldCause(
            "FieldValueInvalid", "spec.clusterIPs", f"Invalid value: {shown}: failed to allocate IP {ip}: {why}"
        )
        return statuses.invalid("", "Service", obj["metadata"].get("name", ""), [cause])

    def _node_ports(self, session: _Session, obj: Object, old: Object | None) -> Object:
        if not services.needs_node_port(obj["spec"]):
            return obj
        held = set(_ports(old)) if old is not None else set()
        mine: dict[int, set[str]] = {}
        ports: list[Object] = []
        for index, port in enumerate(obj["spec"].get("ports") or ()):
            number, protocol = port.get("nodePort") or 0, port.get("protocol", "TCP")
            if not number:
                number = self._any_port(session, port, ports)
            elif number not in held and number not in mine:
                self._port(session, obj, number, f"spec.ports[{index}].nodePort")
            mine.setdefault(number, set()).add(protocol)
            ports.append({**port, "nodePort": number})
        return {**obj, "spec": {**obj["spec"], "ports": ports}} if ports else obj

    def _any_port(self, session: _Session, port: Object, before: list[Object]) -> int:
        """A free port; one number serves a port that is offered over TCP and UDP (alloc.go, allocNodePorts)."""
        for other in before:
            same = other["port"] == port["port"] and other.get("protocol") != port.get("protocol")
            taken = {(o["nodePort"], o.get("protocol")) for o in before}
            if same and (other["nodePort"], port.get("protocol")) not in taken:
                return int(other["nodePort"])
        try:
            number = self._ports.take_any()
        except Full:
            raise statuses.internal("failed to allocate a nodePort: range is full") from None
        session.taken.append((self._ports, number))
        return number

    def _port(self, session: _Session, obj: Object, number: int, field: str) -> None:
        try:
            self._ports.take(number)
        except OutOfRange:
            why = f"provided port is not in the valid range. The range of valid ports is {self._port_text}"
        except Taken:
            why = "provided port is already allocated"
        else:
            session.taken.append((self._ports, number))
            return
        cause = statuses.FieldCause("FieldValueInvalid", field, f"Invalid value: {number}: {why}")
        raise statuses.invalid("", "Service", obj["metadata"].get("name", ""), [cause])

    def _health_port(self, session: _Session, obj: Object, old: Object | None) -> Object:
        if not services.needs_health_port(obj["spec"]):
            return obj
        number = obj["spec"].get("healthCheckNodePort") or 0
        if not number:
            number = self._any_port(session, {"port": -1}, [])
        elif old is None or number not in _ports(old):
            self._port(session, obj, number, "spec.healthCheckNodePort")
        return {**obj, "spec": {**obj["spec"], "healthCheckNodePort": number}}


def _grouped(taken: Iterable[tuple[Range, int]]) -> dict[Range, set[int]]:
    found: dict[Range, set[int]] = {}
    for pool, number in taken:
        found.setdefault(pool, set()).add(number)
    return found


def _address(text: Any) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def _ips(service: Object) -> list[ipaddress.IPv4Address]:
    spec = service.get("spec") or {}
    found = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [a for a in map(_address, found) if a is not None]


def _ports(service: Object) -> list[int]:
    spec = service.get("spec") or {}
    found = [p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        found.append(spec["healthCheckNodePort"])
    return found
