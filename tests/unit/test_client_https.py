"""The transport over HTTP: what is tried again, what is not, and how streams end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from tests.fakes.clock import VirtualClock

from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Request
from groundplane.client.https import HttpsTransport
from groundplane.client.kubeconfig import Access
from groundplane.client.resources import PODS

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer, clock: VirtualClock, **access: str) -> AsyncIterator[HttpsTransport]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    transport = HttpsTransport(Access(f"http://127.0.0.1:{port}", **access), clock)
    try:
        yield transport
    finally:
        await transport.close()
        await runner.cleanup()


async def running(clock: VirtualClock, work: Awaitable[object]) -> object:
    """Move the clock until the work is done: what it waits for is time or a socket."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await clock.advance(0.05)
        await asyncio.wait([task], timeout=0.01)
    return await task


def test_a_read_is_tried_again_and_a_write_is_not(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        calls: list[str] = []

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            calls.append(request.method)
            if len(calls) < 3:
                assert request.transport is not None
                request.transport.abort()
            return web.json_response({"kind": "Pod"})

        async with serving(answer, clock) as transport:
            response = await running(clock, transport.send(Request("GET", "/api/v1/x")))
            assert response.status == 200
            assert calls == ["GET"] * 3
            calls.clear()
            with pytest.raises(ConnectionLost, match="did not answer"):
                await transport.send(Request("POST", "/api/v1/x", body={}))
            assert calls == ["POST"]

    run(work())


def test_a_busy_server_is_obeyed(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        moments: list[float] = []

        async def answer(_: web.BaseRequest) -> web.StreamResponse:
            moments.append(clock.monotonic())
            if len(moments) == 1:
                return web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "3"})
            return web.json_response({"kind": "Pod"}, headers={"Warning": '299 - "old \\"word\\""'})

        async with serving(answer, clock) as transport:
            response = await running(clock, transport.send(Request("POST", "/api/v1/x", body={"a": 1})))
            assert response.warnings == ('old "word"',)
            assert moments[1] - moments[0] >= 3

    run(work())


def test_watches_that_are_cut_and_refused(run) -> None:
    async def work() -> None:
        clock = VirtualClock()

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            assert request.query["watch"] == "1"
            if request.query.get("resourceVersion") == "1":
                status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                return web.json_response(status, status=410)
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"MODI')
            await response.write(b'FIED","object":{"metadata":{"name":"b"}}}\n{"type":"DELETED","obj')
            assert request.transport is not None
            request.transport.close()
            return response

        async with serving(answer, clock) as transport:
            pods = Client(transport).of(PODS)
            told = []
            with pytest.raises(ConnectionLost):
                async with aclosing(pods.watch("default", resource_version="9")) as events:
                    async for event in events:
                        told.append((event.type, event.object["metadata"]["name"]))  # noqa: PERF401 because it raises
            assert told == [("ADDED", "a"), ("MODIFIED", "b")]
            with pytest.raises(ApiError) as refused:
                await pods.watch("default", resource_version="1").__anext__()
            assert refused.value.is_gone

    run(work())


def test_a_token_file_is_read_again_every_minute(run, state_root: Path) -> None:
    async def work() -> None:
        clock = VirtualClock()
        seen: list[str] = []

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            seen.append(request.headers["Authorization"])
            return web.json_response({})

        token = state_root / "token"
        token.write_text("one\n")
        async with serving(answer, clock, token_file=str(token)) as transport:
            for text in ("two", "three"):
                await transport.send(Request("GET", "/api"))
                token.write_text(text)
                await transport.send(Request("GET", "/api"))
                await clock.advance(61)
            await transport.send(Request("GET", "/api"))
            assert seen == ["Bearer one", "Bearer one", "Bearer two", "Bearer two", "Bearer three"]
            token.unlink()
            await clock.advance(61)
            with pytest.raises(ConnectionLost, match="token file"):
                await running(clock, transport.send(Request("GET", "/api")))

    run(work())


def test_a_server_that_is_not_there(run) -> None:
    async def work() -> None:
        transport = HttpsTransport(Access("https://127.0.0.1:1"), VirtualClock())
        with pytest.raises(ConnectionLost, match=r"API server .* did not answer"):
            await transport.send(Request("POST", "/api"))
        await transport.close()

    run(work())
