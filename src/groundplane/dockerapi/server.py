"""The API on its unix socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from aiohttp import web

from groundplane.base.settings import Settings
from groundplane.dockerapi.app import make_app
from groundplane.dockerapi.door import DoorEngine
from groundplane.dockerapi.gate import Gate

_GRACE = 2.0  # seconds that open requests get when the door closes; an attached client comes back by itself


class DockerApi:
    """Started and stopped by `daemon`; `routes` are the platform's own, below /ground/."""

    def __init__(self, engine: DoorEngine, settings: Settings, routes: Sequence[web.RouteDef] = ()) -> None:
        self.gate = Gate()
        # handler_cancellation: a handler that waits (wait, events, logs -f) ends with its client
        self._runner = web.AppRunner(
            make_app(engine, settings, routes, gate=self.gate),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_GRACE,
        )
        self._path = ""
        self._mode = 0
        self._site: web.SockSite | None = None

    async def start(self, path: str, mode: int = 0o660) -> None:
        """Listen. A socket that a killed predecessor left is replaced: the state root's lock says that we are alone."""
        await self._runner.setup()
        self._path, self._mode = path, mode
        await self._listen()

    async def keep(self) -> None:
        """Listen anew where somebody removed the socket's file: nobody could ask for anything, not even for the end."""
        before = self._site
        if before is None or os.path.exists(self._path):
            return
        await self._listen()
        await before.stop()

    async def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # unix(7), "Pathname socket ownership and permissions": bind takes the mode of the unbound socket's inode,
            # so that there is no moment in which others may connect.
            os.fchmod(listener.fileno(), self._mode)
            os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
            listener.bind(self._path)
            site = web.SockSite(self._runner, listener)
            await site.start()
        except BaseException:
            listener.close()
            raise
        self._site = site

    async def stop(self) -> None:
        """Take no more requests, give the open ones a moment, close. Containers are not concerned."""
        self._site = None
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
        await self._runner.cleanup()
