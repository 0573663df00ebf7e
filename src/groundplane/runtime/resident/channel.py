"""One end of a conversation: spawner messages with descriptors over a non-blocking SOCK_SEQPACKET socket."""

from __future__ import annotations

import os
import socket

from groundplane.wire.spawner import MAX_MESSAGE, Message, SpawnerProtocolError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_FDS = 64  # the kernel's own limit is 253 (SCM_MAX_FD, unix(7)); nobody attaches that many clients at a start


class Channel:
    """Sends and receives single messages; what the socket does not take at once waits in `unsent`."""

    __slots__ = ("closed", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.unsent: list[tuple[bytes, list[int]]] = []
        self.closed = False

    @classmethod
    def of_fd(cls, fd: int) -> Channel:
        return cls(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd))

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Whether it is sent; else it waits for `flush`. The descriptors are duplicated, the caller keeps its own."""
        if self.closed:
            return True
        data = encode(message)
        if not self.unsent and self._sent(data, fds):
            return True
        self.unsent.append((data, [os.dup(fd) for fd in fds]))
        return False

    def flush(self) -> bool:
        """Send what waits; whether nothing waits any more."""
        while self.unsent:
            data, fds = self.unsent[0]
            if not self._sent(data, fds):
                return False
            del self.unsent[0]
            close_all(fds)
        return True

    def _sent(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            socket.send_fds(self.sock, [data], fds, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except ConnectionError:  # the peer has gone: the reader sees the end of file and closes this channel
            return True
        return True

    def receive(self) -> tuple[Message, list[int]] | None:
        """One message and its descriptors, None at the end. Raises BlockingIOError, SpawnerProtocolError."""
        try:
            data, fds, flags, _ = socket.recv_fds(self.sock, MAX_MESSAGE + 1, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        if not data:
            close_all(fds)
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise SpawnerProtocolError("a spawner message was cut short by its reader")
            return decode(data), fds
        except SpawnerProtocolError:
            close_all(fds)
            raise

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for _, fds in self.unsent:
                close_all(fds)
            self.unsent.clear()
            self.sock.close()


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
