"""exec for older kubectl (to 1.30, and any that falls back): SPDY/3.1 over an upgraded connection.

The client opens one stream for each of error, stdin, stdout, stderr, resize (header `streamtype`); what they carry is
what the websocket channels carry. Only `v4.channel.k8s.io` is spoken: every kubectl since 1.5 offers it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from groundplane.apiserver import statuses
from groundplane.apiserver.streams.contract import Streams
from groundplane.base import jsonyaml
from groundplane.wire import channels, spdy

_PROTOCOL_HEADER = "X-Stream-Protocol-Version"
_PATIENCE = 30.0  # seconds for the client to open its streams (remotecommand, DefaultStreamCreationTimeout)
_HIGH_WATER = 256 << 10  # bytes of standard input that may wait for the process
_OUTPUT = {1: "stdout", 2: "stderr"}


def check(request: web.BaseRequest) -> None:
    """The client speaks a protocol that is spoken here. Raises Forbidden."""
    offered = [p.strip() for line in request.headers.getall(_PROTOCOL_HEADER, ()) for p in line.split(",")]
    if channels.V4 not in offered:
        why = f"client supports [{' '.join(offered)}], server accepts [{channels.V4}]"
        message = f"unable to upgrade: unable to negotiate protocol: {why}"
        raise statuses.StatusError(403, "Forbidden", message)


class Connection(asyncio.Protocol):
    """One upgraded connection: SPDY events become `streams` and queued input; aiohttp hears only of the end."""

    def __init__(self, transport: asyncio.Transport, former: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._former = former
        self._server = spdy.Server()
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._types: dict[int, str] = {}
        self.streams: dict[str, int] = {}
        self.input: list[tuple[str, bytes | None]] = []  # (stdin or resize, bytes; None at the end)
        self._waiting = 0
        self.gone = False

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._server.feed(data):
                self._take(event)
        except spdy.SpdyError:
            self._transport.abort()
        if self._waiting > _HIGH_WATER:
            self._transport.pause_reading()
        self._changed.set()

    def _take(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.Opened):
            type_ = event.headers.get("streamtype", "")
            self._types[event.stream] = type_
            self.streams[type_] = event.stream
            self._transport.write(self._server.reply(event.stream, {}))
        elif isinstance(event, spdy.Data):
            type_ = self._types.get(event.stream, "")
            if event.data and type_ in ("stdin", "resize"):
                self._waiting += len(event.data)
                self.input.append((type_, event.data))
            if event.fin and type_ == "stdin":
                self.input.append((type_, None))
        elif isinstance(event, spdy.Reset):
            if self._types.get(event.stream) == "stdin":
                self.input.append(("stdin", None))
        elif isinstance(event, spdy.Ping):
            self._transport.write(spdy.ping(event.number))

    def eof_received(self) -> bool:
        self.gone = True
        self._changed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def taken_input(self) -> list[tuple[str, bytes | None]]:
        """All input that waits; reading goes on."""
        found, self.input = self.input, []
        if self._waiting > _HIGH_WATER and not self.gone:
            self._transport.resume_reading()
        self._waiting = 0
        return found

    async def send(self, type_: str, data: bytes, *, fin: bool = False) -> None:
        """Bytes for one of the client's streams; dropped where it opened none. Raises ConnectionResetError."""
        await self._writable.wait()
        if self.gone:
            raise ConnectionResetError("the client closed the connection")
        if type_ in self.streams:
            self._transport.write(spdy.data(self.streams[type_], data, fin=fin))

    def finish(self) -> None:
        """Close after what was written; aiohttp's protocol learns of it, since it no longer sees the transport."""
        self._transport.close()
        asyncio.get_running_loop().call_soon(self._former.connection_lost, None)


def take_over(request: web.BaseRequest) -> Connection:
    """Answer 101; from here on the connection is SPDY."""
    transport: Any = request.transport
    if transport is None:
        raise ConnectionResetError("the client closed the connection")
    taken = Connection(transport, request.protocol)
    transport.set_protocol(taken)
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    head = "\r\n".join([*lines, f"{_PROTOCOL_HEADER}: {channels.V4}", "", ""])
    transport.write(head.encode())
    return taken


async def serve(request: web.BaseRequest, streams: Streams, wanted: set[str]) -> None:
    """Pump until the process has ended or the client has gone; `wanted` are the streams that the client will open."""
    connection = take_over(request)
    try:
        async with asyncio.timeout(_PATIENCE):
            while not wanted <= connection.streams.keys() and not connection.gone:
                await connection.changed()
        inward = asyncio.ensure_future(_inward(connection, streams))
        outward = asyncio.ensure_future(_outward(connection, streams))
        try:
            await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (inward, outward):
                task.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)
    except (TimeoutError, ConnectionResetError):
        pass  # the client did not open its streams, or has gone: there is nobody to tell
    finally:
        connection.finish()


async def _outward(connection: Connection, streams: Streams) -> None:
    while (piece := await streams.read()) is not None:
        await connection.send(_OUTPUT[piece[0]], piece[1])
    status = channels.exit_status(await streams.wait())
    await connection.send("error", jsonyaml.dumps(status), fin=True)
    for type_ in _OUTPUT.values():
        await connection.send(type_, b"", fin=True)


async def _inward(connection: Connection, streams: Streams) -> None:
    """Input to the process; ends when the client has gone."""
    while not connection.gone:
        for type_, data in connection.taken_input():
            if type_ == "resize" and data is not None:
                await streams.resize(*channels.read_size(data))
            elif data is None:
                await streams.close_stdin()
            else:
                await streams.write(data)
        await connection.changed()
