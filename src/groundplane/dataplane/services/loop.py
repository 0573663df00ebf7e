"""Informers → plans → table.

A change of a Service or of one of its slices makes the Service dirty. An idle loop takes it at once; while a
transaction is under way further changes gather and go together into the next one. So one change is programmed within a
millisecond, and a storm costs a transaction per batch, not per change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import set_within
from groundplane.client.contract import Object
from groundplane.client.informer import Handler, Informer, InformerFactory
from groundplane.client.resources import ENDPOINT_SLICES, SERVICES
from groundplane.dataplane.services.gate import EndpointGate
from groundplane.dataplane.services.plan import ServicePlan, Slots, plan_service
from groundplane.dataplane.services.table import ServiceConfig, ServiceTable, is_lost
from groundplane.kernel.netlink.channel import NetlinkError

T = TypeVar("T")
_log = Log("dataplane.services")

SERVICE_LABEL = "kubernetes.io/service-name"  # discovery/v1 LabelServiceName
BY_SERVICE = "dataplane/service"
_RETRY = 1.0
_LOOK_SECONDS = 30.0  # kube-proxy's syncPeriod: a firewall that is restarted flushes all tables, ours too
_MOST_AT_ONCE = 500  # Services in one transaction, so that the first of a storm is not as late as the last


class ServiceLoop:
    """Keeps this node's table like the cluster says. `run` until cancelled, then `close`; the table stays."""

    def __init__(self, informers: InformerFactory, config: ServiceConfig, node: str, clock: Clock) -> None:
        self._gate = EndpointGate()
        self._node = node
        self._clock = clock
        self._config = config
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._dirty: dict[str, None] = {}  # in order of arrival
        self._applying: set[str] = set()
        self._told: dict[str, frozenset[str]] = {}  # each Service's ready endpoints, as the gate knows them
        self._whole = True  # the kernel's table is not known to be as we left it
        self._applied = asyncio.Event()  # a new one for each transaction
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="services")
        self._table: ServiceTable | None = None
        index_slices(self._slices)
        self._services.add_handler(_for_each(lambda service: self._mark(key_of(service))))
        self._slices.add_handler(_for_each(lambda one: self._mark(service_key_of(one))))

    async def ready(self) -> None:
        """Return once the table shows the cluster for the first time."""
        await self._ready.wait()

    async def run(self) -> None:
        await self._services.synced()
        await self._slices.synced()
        table = self._table = await self._do(lambda: ServiceTable(self._config))
        while True:
            await self._retrying(lambda: self._reconcile(table) if self._whole else self._apply(table))
            self._ready.set()
            await set_within(self._wake, _LOOK_SECONDS, self._clock)
            await self._retrying(lambda: self._look(table))

    async def _look(self, table: ServiceTable) -> None:
        """After a while without a change: whether somebody has flushed all tables, ours too."""
        if not self._wake.is_set() and not await self._do(table.is_there):
            _log.warning("someone removed our table; making it anew")
            self._whole = True

    async def endpoint_gone(self, address: str, timeout: float) -> bool:
        """Return True once no Service sends to this pod address as a ready endpoint, False after `timeout` seconds.

        What is known of the cluster now is in the kernel then: an endpoint that is about to be shown counts as shown.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._caught_up()
                return await self._gate.endpoint_gone(address, timeout)
        except TimeoutError:
            return False

    async def _caught_up(self) -> None:
        pending = self._applying | self._dirty.keys()
        while pending:
            await self._applied.wait()
            pending &= self._applying | self._dirty.keys()

    async def close(self) -> None:
        """Release the socket and the thread; idempotent."""
        if self._table is not None:
            await self._do(self._table.close)
            self._table = None
        self._worker.shutdown()

    async def _retrying(self, step: Callable[[], object]) -> None:
        while True:
            try:
                await step()  # type: ignore[misc]
                return
            except NetlinkError as error:
                _log.warning("the kernel refused the Services; trying again", error=error, seconds=_RETRY)
            await self._clock.sleep(_RETRY)

    async def _reconcile(self, table: ServiceTable) -> None:
        remembered = await self._do(table.remembered_slots)
        self._dirty.clear()
        self._wake.clear()
        plans = {key_of(s): self._plan(s, remembered) for s in self._services.cache}
        self._applying = set(plans)
        await self._do(lambda: table.reconcile(plans))
        self._whole = False
        self._tell({key: ServicePlan() for key in self._told} | plans)
        _log.info("services are in the kernel", services=len(plans))

    async def _apply(self, table: ServiceTable) -> None:
        keys = list(self._dirty)[:_MOST_AT_ONCE]
        for key in keys:
            del self._dirty[key]
        if not self._dirty:
            self._wake.clear()
        plans = {key: self._current(key, table.plans.get(key, ServicePlan()).backends) for key in keys}
        self._applying = set(keys)
        try:
            await self._do(lambda: table.apply(plans))
        except NetlinkError as error:
            for key in keys:
                self._mark(key)
            if not is_lost(error.errno):
                raise
            _log.warning("someone changed our table; making it anew", error=error)
            self._whole = True
            await self._reconcile(table)
            return
        self._tell(plans)

    def _tell(self, plans: Mapping[str, ServicePlan]) -> None:
        for key, plan in plans.items():
            self._gate.change(self._told.pop(key, frozenset()), plan.active)
            if plan.active:
                self._told[key] = plan.active
        self._applying = set()
        applied, self._applied = self._applied, asyncio.Event()
        applied.set()

    def _current(self, key: str, before: Slots) -> ServicePlan:
        namespace, _, name = key.partition("/")
        service = self._services.cache.get(name, namespace)
        return self._plan(service, before) if service is not None else ServicePlan()

    def _plan(self, service: Object, before: Slots) -> ServicePlan:
        slices = self._slices.cache.by_index(BY_SERVICE, key_of(service))
        try:
            return plan_service(service, slices, self._node, before, self._config.dns_ip)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # The API server's validation should not let this come; all other Services must go on if it does.
            _log.error("a Service cannot be read and is left out", service=key_of(service), error=repr(error))
            return ServicePlan()

    def _mark(self, key: str) -> None:
        if key:
            self._dirty[key] = None
            self._wake.set()

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def key_of(service: Object) -> str:
    return f"{service['metadata'].get('namespace', '')}/{service['metadata']['name']}"


def service_key_of(one: Object) -> str:
    """The Service that a slice belongs to, "" where it says none."""
    name = (one["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    return f"{one['metadata'].get('namespace', '')}/{name}" if name else ""


def index_slices(slices: Informer) -> None:
    """Index slices by their Service; once per informer."""
    slices.cache.add_index(BY_SERVICE, lambda one: [service_key_of(one)])


def _for_each(tell: Callable[[Object], None]) -> Handler:
    """One call per object; an update that changes the Service of a slice concerns both."""

    def update(old: Object, new: Object) -> None:
        tell(old)
        tell(new)

    return Handler(add=tell, update=update, delete=tell)
