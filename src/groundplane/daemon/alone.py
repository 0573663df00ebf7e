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
from groundplane.base.settings import Settings
from groundplane.daemon.main import run_loop

Report = Callable[[str], None]


def run_apiserver(settings: Settings, store_url: str, host: str, report: Report) -> None:
    """An API server over `store_url` until it is told to stop; `report` gets its address once it answers."""

    async def work(ended: asyncio.Event) -> None:
        from groundplane.apiserver import server as apiserver  # late: 200 ms of imports
        from groundplane.daemon.places import PlaceError, node_address
        from groundplane.store.registry import open_store

        try:
            address = node_address(settings)
        except PlaceError:
            address = ""  # an API server alone serves on loopback too
        os.makedirs(os.path.join(settings.root, "store"), mode=0o700, exist_ok=True)
        store = await open_store(store_url)
        try:
            server = await apiserver.start(replace(settings, node_ip=address), store, host=host)
            report(f"{server.url}, kubeconfig {server.kubeconfig}")
            await ended.wait()
            await server.stop()
        finally:
            await store.close()

    _run(work)


def run_loops(settings: Settings, kubeconfig: str, *, scheduler: bool, controllers: bool) -> None:
    """Controllers or scheduler against the API server of a kubeconfig."""

    async def work(ended: asyncio.Event) -> None:
        from groundplane.daemon import identities  # late: as above
        from groundplane.daemon.controlplane import Loops, facts

        clock = SystemClock()
        clients = identities.remote(kubeconfig, clock)
        cluster = facts(settings, kubeconfig)
        loops = Loops(clients, clock, cluster, scheduler=scheduler, controllers=controllers)
        loops.start()
        await ended.wait()
        await loops.stop()

    _run(work)


def _run(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await work(ended)

    run_loop(main())
