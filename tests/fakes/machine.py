"""An API server's machine over a memory store, without TLS, access control or delivered objects beside `default`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.clock import VirtualClock

from groundplane.apiserver.access.contract import Attributes, Decision, User, Verdict
from groundplane.apiserver.admission import plugins
from groundplane.apiserver.admission.chain import Chain
from groundplane.apiserver.chain import Handler
from groundplane.apiserver.discovery.pages import Discovery
from groundplane.apiserver.edge import Desk
from groundplane.apiserver.local import LocalTransport
from groundplane.apiserver.machine import Machine
from groundplane.apiserver.nonresource import Pages
from groundplane.apiserver.openapi.pages import OpenApi
from groundplane.apiserver.services.allocator import ServiceAllocator
from groundplane.base.clock import Clock
from groundplane.base.settings import Settings
from groundplane.client.contract import Request, Response
from groundplane.store.contract import Store
from groundplane.store.registry import open_store

ADMIN = User("admin", groups=("system:masters",))


class _Everything:
    """Everybody may do everything."""

    def authorize(self, attributes: Attributes) -> Verdict:
        return Verdict(Decision.ALLOW)


class _NoEscalation:
    def check(self, *_: Any) -> None:
        """Nobody is asked."""


class Bench:
    """A machine and short words to call it with."""

    def __init__(self, machine: Machine, desk: Desk, clock: VirtualClock, store: Store) -> None:
        self.machine = machine
        self.clock = clock
        self.store = store
        self.transport = LocalTransport(desk, ADMIN, "test")

    async def call(self, method: str, path: str, body: Any = None, content: str = "", **query: str) -> Response:
        request = Request(method, path, query, body, **({"content_type": content} if content else {}))
        return await self.transport.send(request)

    async def ok(self, method: str, path: str, body: Any = None, content: str = "", **query: str) -> Any:
        """The answer's object, which must be no refusal."""
        response = await self.call(method, path, body, content, **query)
        assert response.status < 400, response.body
        return response.body

    async def refused(self, method: str, path: str, body: Any = None, content: str = "", **query: str) -> Any:
        response = await self.call(method, path, body, content, **query)
        assert response.status >= 400, response.body
        return response.body


async def assembled(store: Store, clock: Clock, settings: Settings | None = None) -> tuple[Machine, Desk]:
    """A started machine over `store`."""
    settings = settings or Settings()
    machine = Machine(settings, store, clock)
    machine.authorizer = _Everything()
    machine.services = ServiceAllocator(settings.service_cidr, settings.node_port_range)
    machine.admission = Chain(plugins.default(machine, _NoEscalation()))  # type: ignore[arg-type]
    await machine.cache.start()
    machine.services.restore(s.object for s in machine.below("", "services"))
    pages = Pages(machine, Discovery(machine.registry, "127.0.0.1:6443"), OpenApi(machine.registry))
    return machine, Desk(machine, Handler(machine, pages))


@asynccontextmanager
async def bench(store: Store | None = None) -> AsyncIterator[Bench]:
    """A machine with namespace and service account `default`."""
    clock = VirtualClock()
    kept = store or await open_store("memory:")
    machine, desk = await assembled(kept, clock)
    found = Bench(machine, desk, clock, kept)
    try:
        if machine.find("", "namespaces", "", "default") is None:
            await found.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
            await found.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        yield found
    finally:
        await machine.cache.stop()
        await kept.close()
