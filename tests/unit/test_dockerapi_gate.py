"""Who begins a container while the platform is taken down."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from groundplane.base.errors import UnavailableError
from groundplane.dockerapi.gate import Gate


def test_who_is_inside_is_waited_for_and_nobody_else_enters() -> None:
    async def work() -> None:
        gate, going = Gate(), asyncio.Event()

        async def begin(_: web.Request) -> web.StreamResponse:
            await going.wait()
            return web.Response()

        guarded, request = gate.guard(begin), make_mocked_request("POST", "/containers/a/start")
        first = asyncio.ensure_future(guarded(request))
        await asyncio.sleep(0)
        shutting = asyncio.ensure_future(gate.shut())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="being taken down"):
            await guarded(request)
        assert not shutting.done()
        going.set()
        await asyncio.gather(first, shutting)
        gate.open()
        assert (await guarded(request)).status == 200

    asyncio.run(work())
