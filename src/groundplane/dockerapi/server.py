"""The API on its unix socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from aiohttp import web

from groundplane.base.settings import Settings
from groundplane.dockerapi.app import make_app
from groundplane.dockerapi.door import DoorEngine

_GRACE = 2.0  # seconds that open requests get when the door closes; an attached client comes back by itself


class DockerApi:
    """Started and stopped by `daemon`; `routes` are the platform's own, below /ground/."""

    def __init__(self, engine: DoorEngine, settings: Settings, routes: Sequence[web.RouteDef] = ()) -> None:
        # handler_cancellation: a handler that waits (wait, events, logs -f) ends with its client
        self._runner = web.AppRunner(
            make_app(engine, settings, routes), access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE
        )
        self._path = ""

    async def start(self, path: str, mode: int = 0o660) -> None:
        """Listen. A socket that a killed predecessor left is replaced: the state root's lock says that we are alone."""
        await self._runner.setup()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # unix(7), "Pathname socket ownership and permissions": bind takes the mode of the unbound socket's inode,
        # so that there is no moment in which others may connect.
        os.fchmod(listener.fileno(), mode)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        listener.bind(path)
        self._path = path
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Take no more requests, give the open ones a moment, close. Containers are not concerned."""
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
        await self._runner.cleanup()
