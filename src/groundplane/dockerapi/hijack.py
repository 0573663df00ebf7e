"""Taking a connection over: after the answer's head it is a plain stream of bytes in both directions.

Docker's attach and exec do this, with `Upgrade: tcp` (answered 101) or without (answered 200 and closed at the end).
aiohttp's own protocol closes a connection when the client shuts its sending half, but that is how a client says "end of
standard input": so the transport gets a protocol of ours, and aiohttp's is only told of the connection's end.

Flow: the transport is not read while more than `_HIGH_WATER` bytes wait for the container; `write` waits while the
client does not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

_HIGH_WATER = 256 << 10


class Hijacked(asyncio.Protocol):
    """The connection's bytes. `read` gives b"" once the client has ended its sending half."""

    def __init__(self, transport: asyncio.Transport, former: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._former = former
        self._buffer = bytearray()
        self._eof = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self._finished = False

    async def read(self) -> bytes:
        while not self._buffer and not self._eof:
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        if not self._eof:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError once the client has gone."""
        await self._writable.wait()
        if self.gone or self._transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._transport.write(data)

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection altogether."""
        return self._gone.is_set()

    async def wait_gone(self) -> None:
        await self._gone.wait()

    def finish(self) -> None:
        """The handler is done: close, and let aiohttp know of the connection's end.

        Not before, because aiohttp cancels a handler whose client has gone, and ours has then still to tidy up.
        """
        self._finished = True
        if self.gone:
            asyncio.get_running_loop().call_soon(self._former.connection_lost, None)
        else:
            self._transport.close()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > _HIGH_WATER:
            self._transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        return True  # keep our sending half open: output still goes out

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._gone.set()
        self._readable.set()
        self._writable.set()
        if self._finished:
            self._former.connection_lost(exc)


class _Tail:
    """What aiohttp had already read behind the request; it hands it to a parser when one is set."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


@contextmanager
def hijacked(request: web.Request, content_type: str) -> Iterator[Hijacked]:
    """Answer the head and take the connection over for the length of the block, which ends where the client has gone.

    The handler then returns `after_hijack()`.
    """
    taken = _take(request, content_type)
    try:
        yield taken
    except ConnectionError:  # nobody is left to be told
        pass
    finally:
        taken.finish()


def _take(request: web.Request, content_type: str) -> Hijacked:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client closed the connection")
    former = request.protocol
    tail = _Tail()
    former.set_parser(tail)  # type: ignore[arg-type]  # aiohttp only names its own websocket reader
    taken = Hijacked(transport, former)
    transport.set_protocol(taken)
    if request.headers.get("Upgrade", "").lower() == "tcp":
        head = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    else:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n"
    transport.write(head.encode())
    if tail.data:
        taken.data_received(tail.data)
    return taken


def after_hijack() -> web.Response:
    """An answer that aiohttp cannot write any more: it takes that for a client that left."""
    return web.Response()
