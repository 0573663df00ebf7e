"""An asyncio end of a conversation in spawner messages over a SOCK_SEQPACKET socket, with descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from groundplane.base.log import Log
from groundplane.wire.spawner import MAX_MESSAGE, Message, SpawnerProtocolError, decode, encode

_log = Log("engine.connection")
_MAX_FDS = 64
_BATCH = 16  # messages read in one turn of the loop, so that one busy container does not starve the others


class Connection:
    """One end. `on_message` gets each message and its descriptors (which it then owns), `on_end` the end, once."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message, list[int]], None],
        on_end: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._reading = False
        self.closed = False
        self.resume()

    @classmethod
    def pair(
        cls, on_message: Callable[[Message, list[int]], None], on_end: Callable[[], None]
    ) -> tuple[Connection, socket.socket]:
        """A connection, and the socket of its other end, to be given away."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours, on_message, on_end), theirs

    # -- sending ------------------------------------------------------------------------------------------------

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send now or as soon as there is room; the caller keeps its descriptors. To a peer that has gone: nothing."""
        if self.closed:
            return
        data = encode(message)
        if not self._unsent and self._sent(data, fds):
            return
        self._unsent.append((data, [os.dup(fd) for fd in fds]))
        if len(self._unsent) == 1:
            self._loop.add_writer(self._sock.fileno(), self._flush)

    async def drain(self) -> None:
        """Wait until all that was sent has been taken."""
        while self._unsent and not self.closed:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def _flush(self) -> None:
        while self._unsent:
            data, fds = self._unsent[0]
            if not self._sent(data, fds):
                return
            self._unsent.popleft()
            close_all(fds)
        self._loop.remove_writer(self._sock.fileno())
        self._wake()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def _sent(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            socket.send_fds(self._sock, [data], fds, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except ConnectionError:  # the reader sees the end
            return True
        return True

    # -- receiving ----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading: the peer then waits, once the socket is full."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        if not self._reading and not self.closed:
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(_BATCH):
            if not self._reading:
                return
            try:
                data, fds, flags, _ = socket.recv_fds(self._sock, MAX_MESSAGE + 1, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except ConnectionError:
                data, fds, flags = b"", [], 0
            if not data:
                close_all(fds)
                self._end()
                return
            try:
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise SpawnerProtocolError("a message was cut short")
                message = decode(data)
            except SpawnerProtocolError as error:
                _log.error("disconnected", error=str(error))
                close_all(fds)
                self._end()
                return
            self._on_message(message, fds)

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._on_end()

    def close(self) -> None:
        """Without telling `on_end`."""
        if self.closed:
            return
        self.pause()
        if self._unsent:
            self._loop.remove_writer(self._sock.fileno())
        for _, fds in self._unsent:
            close_all(fds)
        self._unsent.clear()
        self.closed = True
        self._sock.close()
        self._wake()


def connected(path: str) -> socket.socket:
    """A socket to who listens at `path`. Raises OSError; EAGAIN where it has no room for us now (unix(7): no wait)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
