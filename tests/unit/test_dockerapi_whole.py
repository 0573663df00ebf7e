"""A client that leaves in the middle of a request, and one that is cancelled, leave no half-done work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from groundplane.base.tasks import in_thread
from groundplane.dockerapi.whole import finish_whole, prepare_whole, whole

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_handler_outlives_its_client(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        entered, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(request: web.Request) -> web.Response:
            entered.set()
            await go_on.wait()
            done.set()
            return web.Response()

        app = web.Application()
        prepare_whole(app)
        app.router.add_post("/", whole(slow))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await entered.wait()
        writer.close()
        await writer.wait_closed()
        while runner.server is not None and runner.server.connections:
            await asyncio.sleep(0)  # until the server has noticed
        assert not done.is_set()
        go_on.set()
        await finish_whole(app)
        assert done.is_set()
        await runner.cleanup()

    run(work())


def test_who_only_waits_does_not_hold_up_the_end(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        entered, tidied = asyncio.Event(), asyncio.Event()

        async def waits(request: web.Request) -> web.Response:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                tidied.set()
            return web.Response()

        app = web.Application()
        prepare_whole(app)
        app.router.add_post("/", whole(waits))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await entered.wait()
        await finish_whole(app, grace=0)
        assert tidied.is_set()
        writer.close()
        await writer.wait_closed()
        await runner.cleanup()

    run(work())


def test_work_in_a_thread_ends_before_its_waiter(run: Run) -> None:
    async def work() -> None:
        started, go_on = threading.Event(), threading.Event()
        ended: list[str] = []

        def slow() -> str:
            started.set()
            go_on.wait(10)
            ended.append("thread")
            return "value"

        task = asyncio.ensure_future(in_thread(slow))
        while not started.is_set():
            await asyncio.sleep(0)
        for _ in range(2):  # cancelled twice, and still it waits
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["thread"]
        assert await in_thread(lambda: "value") == "value"
        with pytest.raises(KeyError):
            await in_thread(lambda: {}["missing"])

    run(work())
