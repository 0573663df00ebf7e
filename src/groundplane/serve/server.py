"""One HTTP server over any number of listeners: limits on what comes in, and an end that lets requests finish.

    Server(handler) ──listen(socket, tls)──► connections ──► handler(request) ──► response
           └──stop(grace): no new connections; idle ones are closed; requests have `grace` seconds, then are cancelled

aiohttp's low-level server, because it hands connections over (`Upgrade:`) and shows the TLS peer; its router is
not used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from groundplane.serve.listeners import BACKLOG
from groundplane.serve.peer import Connection

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send. Defaults are those of upstream's API server."""

    body: int = 3 * 1024 * 1024  # MaxRequestBodyBytes; 0: no limit, the handler reads the stream itself
    line: int = 64 * 1024  # request line: a GET with long selectors
    headers: int = 64 * 1024  # one header: a bearer token with many audiences
    idle: float = 120.0  # seconds of silence between two requests of a connection
    handshake: float = 10.0  # seconds for TLS to be agreed on


class Server:
    """Listeners that share one handler."""

    def __init__(self, handler: Handler, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._http = _Http(
            handler,
            request_factory=self._request,
            access_log=None,  # a line a request costs more than most requests; audit is the API server's own
            keepalive_timeout=self._limits.idle,
            max_line_size=self._limits.line,
            max_field_size=self._limits.headers,
        )
        self._listening: list[asyncio.Server] = []

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = task.get_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._limits.body)

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve a listening socket (see `listeners`), which the server owns from now on."""
        loop = asyncio.get_running_loop()
        patience = self._limits.handshake if tls is not None else None
        make = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        self._listening.append(
            await make(self._http, sock=listener, ssl=tls, ssl_handshake_timeout=patience, backlog=BACKLOG)
        )

    @property
    def addresses(self) -> list[Any]:
        """What is listened on, as getsockname(2) gives it (a port of 0 is told here)."""
        return [s.getsockname() for server in self._listening for s in server.sockets]

    @property
    def connections(self) -> int:
        return len(self._http.connections)

    async def stop(self, grace: float = 5.0) -> None:
        """Stop: requests have `grace` seconds. Whoever holds long streams (watches) ends them before; idempotent."""
        listening, self._listening = self._listening, []
        for server in listening:
            server.close()
        await asyncio.sleep(0)  # requests that have just arrived begin, and count as running
        self._http.pre_shutdown()
        await self._http.shutdown(grace)
        for server in listening:
            await server.wait_closed()


class _Http(web.Server):
    """aiohttp's server, with our connections (see `peer`)."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)
