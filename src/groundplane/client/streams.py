"""A process's streams behind a websocket of the API server or of a kubelet: exec's client side (KEP-4006, v5 and v4).

connect(url, params) ──► ChannelStreams: write, resize, close_stdin ──► the process
                                         read, wait                 ◄──
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from groundplane.base.jsonyaml import DecodeError, loads
from groundplane.client.contract import ApiError, ConnectionLost
from groundplane.wire import channels

_CONNECT_SECONDS = 10.0
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}
Params = Sequence[tuple[str, str]]


class ChannelStreams:
    """The shape of `engine.contract.Streams`. Raises ConnectionLost in `write` once the other side has gone."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket
        self._code: int | None = None
        self._failure = ""

    async def write(self, data: bytes) -> None:
        await self._send(channels.encode(channels.STDIN, data))

    async def close_stdin(self) -> None:
        if self._socket.protocol == channels.V5:  # v4 has no word for it
            await self._send(bytes((channels.CLOSE, channels.STDIN)))

    async def resize(self, rows: int, columns: int) -> None:
        await self._send(channels.encode(channels.RESIZE, channels.write_size(rows, columns)))

    async def _send(self, message: bytes) -> None:
        try:
            await self._socket.send_bytes(message)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ConnectionLost(f"the stream has ended: {error}") from error

    async def read(self) -> tuple[int, bytes] | None:
        """(1 or 2, bytes) of standard output or error; None at the end."""
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                continue
            channel, data = channels.decode(message.data)
            if channel in (channels.STDOUT, channels.STDERR):
                if data:
                    return channel, data
            elif channel == channels.ERROR:
                self._code = channels.read_exit(data)
                self._failure = channels.failure_of(data)
                return None
        return None

    @property
    def failure(self) -> str:
        """Why the command could not be run, in the server's words; empty where it ran and ended."""
        return self._failure

    async def wait(self) -> int:
        """The exit code; 1 where the other side went away before it said."""
        while self._code is None and await self.read() is not None:
            pass
        return 1 if self._code is None else self._code

    async def kill(self) -> None:
        await self.close()

    async def close(self) -> None:
        await self._socket.close()
        await self._session.close()


async def connect(
    url: str, params: Params, *, tls: ssl.SSLContext | bool, headers: Mapping[str, str] | None = None
) -> ChannelStreams:
    """Open the channels. Raises ApiError where they are refused, ConnectionLost where nobody answers."""
    connector = aiohttp.TCPConnector(ssl=tls, limit=1)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    session = aiohttp.ClientSession(connector=connector, timeout=timeout, middlewares=(_refusals,))
    try:
        socket = await session.ws_connect(
            url, params=params, protocols=(channels.V5, channels.V4), max_msg_size=0, headers=headers
        )
    except BaseException as error:
        await session.close()
        if isinstance(error, aiohttp.ClientError | asyncio.TimeoutError | OSError):
            raise ConnectionLost(f"{url.partition('?')[0]}: {error or type(error).__name__}") from error
        raise
    return ChannelStreams(session, socket)


async def _refusals(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """The answer's own sentence: aiohttp's error for a refused handshake has lost the body."""
    answer = await handler(request)
    if answer.status != 101:
        raise ApiError(refusal(answer.status, await answer.read()))
    return answer


def refusal(code: int, body: bytes) -> dict[str, Any]:
    """What was answered as a Status, also where it was plain text (a kubelet's)."""
    try:
        status: Any = loads(body)
    except DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return status
    text = body.decode(errors="replace").strip() or f"the server answered {code}"
    reason = _REASONS.get(code, "InternalError")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": text, "reason": reason, "code": code}  # fmt: skip
