"""No container begins any more once the platform is being taken down: nobody would be left to end it."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from groundplane.base.errors import UnavailableError


class Gate:
    """Open, or shut: then who would begin a container is refused, and `shut` has waited for those who just do."""

    def __init__(self) -> None:
        self._is_open = True
        self._inside = 0
        self._left = asyncio.Event()

    async def shut(self) -> None:
        self._is_open = False
        while self._inside:
            self._left.clear()
            await self._left.wait()

    def open(self) -> None:
        self._is_open = True

    def guard(self, handler: Handler) -> Handler:
        """The handler behind this gate."""

        async def enter(request: web.Request) -> web.StreamResponse:
            if not self._is_open:
                raise UnavailableError("the platform is being taken down; try again when it has ended")
            self._inside += 1
            try:
                return await handler(request)
            finally:
                self._inside -= 1
                self._left.set()

        return enter
