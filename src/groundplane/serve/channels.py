"""A process's streams as websocket channels (v5, v4), for servers: the API server's edge and the kubelet's.

client ──websocket──► channels ──► Streams.write, resize, close_stdin
       ◄──────────────────────── Streams.read ◄── the process; its exit code is the last message (channel 3)
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import WSMsgType, web

from groundplane.base import jsonyaml
from groundplane.wire import channels

_LIMIT = 16 * 1024 * 1024  # one message; kubectl cp sends far smaller ones
_HEARTBEAT = 30.0


class Streams(Protocol):
    """What is pumped: the part of engine.contract.Streams that a client can reach."""

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def read(self) -> tuple[int, bytes] | None: ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def wait(self) -> int: ...


async def serve(request: web.BaseRequest, streams: Streams) -> web.WebSocketResponse:
    """Take the request's connection over and pump until the process has ended or the client has gone.

    Closing `streams` is the caller's.
    """
    socket = web.WebSocketResponse(protocols=(channels.V5, channels.V4), max_msg_size=_LIMIT, heartbeat=_HEARTBEAT)
    await socket.prepare(request)
    try:
        await _pump(socket, streams)
    finally:
        await socket.close()
    return socket


async def _pump(socket: web.WebSocketResponse, streams: Streams) -> None:
    """Both directions until the process has ended, or the client has gone."""
    inward = asyncio.ensure_future(_inward(socket, streams))
    outward = asyncio.ensure_future(_outward(socket, streams))
    try:
        await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
        if not outward.done() and not socket.closed:
            await outward  # the client closed its input only
    finally:
        for task in (inward, outward):
            task.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)


async def _outward(socket: web.WebSocketResponse, streams: Streams) -> None:
    while (piece := await streams.read()) is not None:
        stream, data = piece
        await socket.send_bytes(channels.encode(stream, data))
    status = channels.exit_status(await streams.wait())
    await socket.send_bytes(channels.encode(channels.ERROR, jsonyaml.dumps(status)))


async def _inward(socket: web.WebSocketResponse, streams: Streams) -> None:
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            continue
        try:
            channel, data = channels.decode(message.data)
            if channel == channels.STDIN:
                await streams.write(data)
            elif channel == channels.RESIZE:
                await streams.resize(*channels.read_size(data))
            elif channel == channels.CLOSE and data[:1] == bytes((channels.STDIN,)):
                await streams.close_stdin()
        except channels.ChannelError:
            return
