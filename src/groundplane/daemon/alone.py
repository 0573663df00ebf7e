"""Each role as a process of its own: `ground apiserver`, `controllers`, `scheduler`, `node`.

The same code as in groundd; only the transport differs. SIGTERM and SIGINT end a role; a node leaves its pods running.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

from groundplane.base.clock import SystemClock
from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings
from groundplane.daemon.main import run_loop, settle
from groundplane.serve.pki import Pair

Report = Callable[[str], None]
STOP_SECONDS = 5.0  # for what a role does at its end, giving its lease up included


class LeaseLost(GroundError):
    """This process may not act any more."""

    retry = True


def run_apiserver(settings: Settings, store_url: str, host: str, report: Report) -> None:
    """An API server over `store_url` until it is told to stop; `report` gets its address once it answers."""

    async def work(ended: asyncio.Event) -> None:
        from groundplane.apiserver import server as apiserver  # late: 200 ms of imports
        from groundplane.daemon.places import PlaceError, node_address
        from groundplane.daemon.storecare import refuse_unfinished
        from groundplane.store.registry import open_store

        try:
            address = node_address(settings)
        except PlaceError:
            address = ""  # an API server alone serves on loopback too
        os.makedirs(os.path.join(settings.root, "store"), mode=0o700, exist_ok=True)
        store = await open_store(store_url)
        try:
            await refuse_unfinished(store)
            server = await apiserver.start(replace(settings, node_ip=address), store, host=host)
            settle()
            report(f"{server.url}, kubeconfig {server.kubeconfig}")
            await ended.wait()
            await server.stop()
        finally:
            await store.close()

    _run(work)


def run_loops(settings: Settings, kubeconfig: str, *, scheduler: bool, controllers: bool) -> None:
    """Controllers or scheduler against the API server of a kubeconfig, once this process holds their lease.

    Raises LeaseLost where another process took over: whoever started this one may start it again, to wait.
    """

    async def work(ended: asyncio.Event) -> None:
        from groundplane.base.ids import uuid4  # late: as above
        from groundplane.client.leader import Leader, LeaseWords
        from groundplane.daemon import identities
        from groundplane.daemon.controlplane import Loops, facts

        name = "kube-scheduler" if scheduler else "kube-controller-manager"
        clock, cluster = SystemClock(), facts(settings, kubeconfig)
        clients = identities.Remote(kubeconfig, clock, name)

        async def lead() -> None:
            loops = Loops(clients, clock, cluster, scheduler=scheduler, controllers=controllers)
            loops.start()
            settle()
            try:
                await ended.wait()
            finally:
                await loops.stop()

        words = LeaseWords(name, f"{os.uname().nodename}_{uuid4()}")
        leading = asyncio.ensure_future(Leader(clients(identities.ADMIN, name), clock, words).run(lead))
        waiting = asyncio.ensure_future(ended.wait())
        try:
            await asyncio.wait((leading, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not ended.is_set():
                leading.result()
                raise LeaseLost(
                    f"the lease kube-system/{name} was lost: another process holds it, or no API server answers"
                )
            await asyncio.wait((leading,), timeout=STOP_SECONDS)
        finally:
            leading.cancel()
            waiting.cancel()
            await asyncio.gather(leading, waiting, return_exceptions=True)
            await clients.close()

    _run(work)


def run_node(settings: Settings, kubeconfig: str, pair: Pair | None, report: Report) -> None:
    """Engine, node agent and data plane of a cluster elsewhere; pods go on when it ends. Raises GroundError.

    It owns its root like groundd, and answers on the engine's socket, so `ground ps` and `ground down` work with it.
    """
    from groundplane.daemon.instance import Instance  # late: as above

    instance = Instance(settings)
    instance.make_directories()
    instance.lock()

    async def work(ended: asyncio.Event) -> None:
        from groundplane.daemon.join import Join
        from groundplane.daemon.platform import Platform
        from groundplane.daemon.ready import Ready

        join = Join(kubeconfig, pair, SystemClock())
        try:
            platform = Platform(instance, SystemClock(), Ready(), join)
            platform.ended = ended
            await platform.start(("engine", "node"))
            assert platform.node_role is not None, "started above"
            settle()
            report(f"{platform.node_role.place.name}, engine socket {settings.engine_socket}")
            await ended.wait()
            await platform.stop()
        finally:
            await join.close()

    try:
        _run(work)
    finally:
        instance.unlock()


def _run(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await work(ended)

    run_loop(main())
