"""One end of a conversation: spawner messages with descriptors over a non-blocking SOCK_SEQPACKET socket."""

from __future__ import annotations

import os
import socket
from struct import pack, unpack

from groundplane.wire.spawner import MAX_MESSAGE, Message, SpawnerProtocolError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Plain numbers: the enumerations of `socket` compute in Python, and whatever runs in a supervisor is memory of its own.
AF_UNIX = int(socket.AF_UNIX)
SEQPACKET = int(socket.SOCK_SEQPACKET)
_SOL_SOCKET = int(socket.SOL_SOCKET)
_SCM_RIGHTS = int(socket.SCM_RIGHTS)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)
CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)

_MAX_FDS = 64  # the kernel's own limit is 253 (SCM_MAX_FD, unix(7)); nobody attaches that many clients at a start
ROOM = socket.CMSG_SPACE(_MAX_FDS * 4)


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
        return cls(socket.socket(AF_UNIX, SEQPACKET, 0, fd))

    @classmethod
    def over(cls, slot: int) -> Channel:
        """A channel over a descriptor that is put at the number `slot` later; until then a socket of its own."""
        place = socket.socket(AF_UNIX, SEQPACKET)
        os.dup2(place.fileno(), slot, inheritable=False)
        place.close()
        return cls.of_fd(slot)

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
            if fds:
                self.sock.sendmsg([data], [(_SOL_SOCKET, _SCM_RIGHTS, pack(f"{len(fds)}i", *fds))], _NOSIGNAL)
            else:
                self.sock.send(data, _NOSIGNAL)
        except BlockingIOError:
            return False
        except ConnectionError:  # the peer has gone: the reader sees the end of file and closes this channel
            return True
        return True

    def receive(self) -> tuple[Message, list[int]] | None:
        """One message and its descriptors, None at the end. Raises BlockingIOError, SpawnerProtocolError."""
        try:
            data, extra, flags, _ = self.sock.recvmsg(MAX_MESSAGE + 1, ROOM, CLOEXEC)
        except ConnectionResetError:
            return None
        fds = [fd for level, kind, cmsg in extra for fd in _descriptors(level, kind, cmsg)]
        if not data:
            close_all(fds)
            return None
        try:
            if flags & _CUT:
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


def _descriptors(level: int, kind: int, data: bytes) -> tuple[int, ...]:
    if level != _SOL_SOCKET or kind != _SCM_RIGHTS:
        return ()
    return unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(AF_UNIX, SEQPACKET)


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
