"""A client's connection becomes streams: websocket channels (v5, v4), or SPDY, pumped to and from a process.

client ──websocket──► channels ──► Streams.write, resize, close_stdin
       ◄──────────────────────── Streams.read ◄── the process; its exit code is the last message (channel 3)
"""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Upgraded
from groundplane.apiserver.streams import spdy
from groundplane.apiserver.streams.contract import Streams
from groundplane.base import jsonyaml
from groundplane.wire import channels

_LIMIT = 16 * 1024 * 1024  # one message; kubectl cp sends far smaller ones


def wanted(request: web.BaseRequest) -> bool:
    """Whether the request asks for the connection."""
    return "upgrade" in request.headers.get("Connection", "").lower() and "Upgrade" in request.headers


class Upgrade:
    """One request's connection, taken over when called."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    def check(self) -> None:
        """The connection can be taken over; before anything is started. Raises StatusError."""
        word = self._request.headers["Upgrade"].lower()
        if word == "spdy/3.1":
            spdy.check(self._request)
        elif word != "websocket":
            raise statuses.bad_request(f"unable to upgrade: {word} is not spoken here, only websocket and SPDY/3.1")

    async def __call__(self, streams: Streams, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Upgraded:
        """Pump until the process has ended or the client has gone."""
        try:
            if self._request.headers["Upgrade"].lower() == "spdy/3.1":
                flags = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "resize": tty, "error": True}
                await spdy.serve(self._request, streams, {name for name, wanted_ in flags.items() if wanted_})
                return Upgraded(web.Response())
            return Upgraded(await self._websocket(streams))
        finally:
            await streams.close()

    async def _websocket(self, streams: Streams) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(channels.V5, channels.V4), max_msg_size=_LIMIT, heartbeat=30.0)
        await socket.prepare(self._request)
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
