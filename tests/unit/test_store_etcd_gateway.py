"""etcd's gateway as a client sees it: how many calls are on their way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from groundplane.store.drivers.etcd.gateway import Gateway
from groundplane.store.drivers.etcd.url import parse

Run = Callable[[Any], Any]


def test_a_burst_of_calls_does_not_all_wait_in_etcd(run: Run) -> None:
    """A member that is slow answers each of the few that it has been asked in time; the others' time has not begun."""
    waiting: list[asyncio.Event] = []
    most = 0

    async def answer(_: web.BaseRequest) -> web.Response:
        nonlocal most
        waiting.append(asyncio.Event())
        most = max(most, len(waiting))
        await waiting[-1].wait()
        return web.json_response({"header": {"revision": "1"}})

    async def work() -> None:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        gateway = Gateway(parse(f"etcd://127.0.0.1:{runner.addresses[0][1]}?timeout=60"))
        calls = [asyncio.ensure_future(gateway.call("/v3/kv/range", {}, repeat=True)) for _ in range(300)]
        try:
            while not all(call.done() for call in calls):
                await asyncio.sleep(0.01)
                for one in waiting:
                    one.set()
                waiting.clear()
            assert all(call.result()["header"]["revision"] == "1" for call in calls)
            assert 1 < most <= 64
        finally:
            await gateway.close()
            await runner.cleanup()

    run(work())
