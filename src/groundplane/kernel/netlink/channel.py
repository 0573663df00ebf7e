"""One netlink socket: requests in, acknowledgements, dumps and errors out.

        perform(a, b, c)    one datagram of three messages, each with NLM_F_ACK
                            ◄── one NLMSG_ERROR per message (error 0 is success), matched by sequence number
        dump(a)             one message with NLM_F_DUMP
                            ◄── parts, until NLMSG_DONE
        batch(...)          nf_tables: BATCH_BEGIN, messages, BATCH_END in one datagram; all or nothing

The kernel works on a message inside our `sendmsg`: when it returns, every answer is in the receive queue. So all calls
here are synchronous and take as long as the kernel's own work, mostly tens of microseconds.
"""

from __future__ import annotations

# The C module, because `socket` costs 4 ms at import (selectors, enum) and gives nothing that is needed here.
import _socket
import errno as errno_names
import struct

from groundplane.kernel.errors import KernelError
from groundplane.kernel.netlink import attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUTE = 0  # NETLINK_ROUTE
NETFILTER = 12  # NETLINK_NETFILTER

REQUEST = 0x1
ACK = 0x4
ROOT_AND_MATCH = 0x300  # NLM_F_DUMP
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400
APPEND = 0x800

_SOL_NETLINK = 270
_CAP_ACK = 10  # NETLINK_CAP_ACK, Linux ≥4.3: errors do not carry our message back
_EXT_ACK = 11  # NETLINK_EXT_ACK, Linux ≥4.12: errors carry a sentence
_STRICT = 12  # NETLINK_GET_STRICT_CHK, Linux ≥4.20: dumps are filtered by the kernel
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_ERROR = 2  # NLMSG_ERROR
_DONE = 3
_DUMP_INTERRUPTED = 0x10
_CAPPED = 0x100
_ACK_TLVS = 0x200
_HEADER = struct.Struct("=IHHII")
_INT = struct.Struct("=i")
_RECEIVE = 1 << 18
_DUMP_TRIES = 5


class NetlinkError(KernelError):
    """The kernel refused a request: its name, its object, and the kernel's own sentence where it gave one."""

    def __init__(self, call: str, errno: int, object: str, sentence: str = "") -> None:
        super().__init__(call, errno, object, sentence)
        self.sentence = sentence


class Request:
    """One message to the kernel. `call` and `object` name it in errors; errno values in `quiet` count as success."""

    __slots__ = ("body", "call", "flags", "kind", "object", "quiet")

    def __init__(self, kind: int, flags: int, body: bytes, call: str, object: str, quiet: tuple[int, ...] = ()) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body
        self.call = call
        self.object = object
        self.quiet = quiet

    def unless(self, *errnos: int) -> Request:
        """The same request, content with these errors (EEXIST of something that is to be there)."""
        return Request(self.kind, self.flags, self.body, self.call, self.object, errnos)

    def __repr__(self) -> str:
        return f"<{self.call} {self.object}>"


class Channel:
    """A netlink socket of the network namespace that the calling thread is in; used by one thread at a time."""

    def __init__(self, family: int = ROUTE) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, family)
        self._sequence = 0
        self._room = 0
        for option in (_EXT_ACK, _CAP_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._force(_SO_RCVBUFFORCE, 1 << 21)  # so that a failing batch's errors and large dumps fit

    def _force(self, option: int, size: int) -> None:
        try:
            self._socket.setsockopt(_socket.SOL_SOCKET, option, size)
        except PermissionError:  # without CAP_NET_ADMIN: the default buffers do for reading
            return

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def perform(self, *requests: Request) -> None:
        """Do all of them in order. All are tried; then the first failure is raised as NetlinkError."""
        if not requests:
            return
        first = self._sequence + 1
        parts = [self._frame(r.kind, r.flags | REQUEST | ACK, r.body) for r in requests]
        self._send(b"".join(parts))
        failure: NetlinkError | None = None
        answered = 0
        while answered < len(requests):
            for kind, flags, sequence, data in self._receive():
                index = sequence - first
                if kind != _ERROR or not 0 <= index < len(requests):
                    continue  # an answer to an earlier call that was interrupted
                answered += 1
                problem = _problem(requests[index], flags, data)
                failure = failure or problem
        if failure is not None:
            raise failure

    def dump(self, request: Request) -> list[bytes]:
        """The bodies (after the netlink header) of a dump's parts; a dump that changed meanwhile is asked again."""
        for _ in range(_DUMP_TRIES):
            found, torn = self._dump_once(request)
            if not torn:
                break
        return found

    def _dump_once(self, request: Request) -> tuple[list[bytes], bool]:
        sequence = self._sequence + 1
        self._send(self._frame(request.kind, request.flags | REQUEST | ROOT_AND_MATCH, request.body))
        found: list[bytes] = []
        torn = False
        while True:
            for kind, flags, number, data in self._receive():
                if number != sequence:
                    continue
                torn = torn or bool(flags & _DUMP_INTERRUPTED)
                if kind == _DONE:
                    return found, torn
                if kind == _ERROR:
                    if (problem := _problem(request, flags, data)) is not None:
                        raise problem
                    return found, torn
                found.append(data)

    def get(self, request: Request) -> bytes:
        """The body of a request's single answer."""
        sequence = self._sequence + 1
        self._send(self._frame(request.kind, request.flags | REQUEST, request.body))
        while True:
            for kind, flags, number, data in self._receive():
                if number != sequence:
                    continue
                if kind != _ERROR:
                    return data
                if (problem := _problem(request, flags, data)) is not None:
                    raise problem

    def batch(self, begin: bytes, requests: Sequence[Request], end: bytes) -> None:
        """One nf_tables transaction: nothing of it happens where one message is refused (NetlinkError names that one).

        `begin` and `end` are the bodies of NFNL_MSG_BATCH_BEGIN and _END. Only the last message asks for an ACK: a
        refusal is always reported, and a transaction has one end.
        """
        begin_frame = self._frame(16, REQUEST, begin)  # NFNL_MSG_BATCH_BEGIN
        first = self._sequence + 1
        last = len(requests) - 1
        parts = [
            self._frame(r.kind, r.flags | REQUEST | (ACK if i == last else 0), r.body) for i, r in enumerate(requests)
        ]
        self._send(b"".join((begin_frame, *parts, self._frame(17, REQUEST, end))))
        failure: NetlinkError | None = None
        done = False
        for kind, flags, sequence, data in self._receive_queued():
            index = sequence - first
            if kind != _ERROR:
                continue
            if not 0 <= index <= last:  # the batch as a whole: EPERM on its begin, a torn commit on its end
                request = Request(0, 0, b"", "nf_tables batch", f"of {len(requests)} messages")
                failure = failure or _problem(request, flags, data)
                continue
            done = done or index == last
            failure = failure or _problem(requests[index], flags, data)
        if failure is not None:
            raise failure
        if not done:
            raise NetlinkError("nf_tables batch", errno_names.EIO, f"of {len(requests)} messages", "no answer")

    def _frame(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return _HEADER.pack(16 + len(body), kind, flags, self._sequence, 0) + body

    def _send(self, data: bytes) -> None:
        # A datagram must fit into the send buffer (netlink(7): EMSGSIZE); FORCE passes wmem_max with CAP_NET_ADMIN.
        if len(data) > 150_000 and len(data) > self._room:
            self._room = len(data) + (1 << 16)
            self._force(_SO_SNDBUFFORCE, self._room)
        try:
            self._socket.send(data)
        except OSError as error:
            raise NetlinkError("netlink send", error.errno or 0, f"of {len(data)} bytes") from error

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return _messages(self._read(0))

    def _read(self, flags: int) -> bytes:
        try:
            return self._socket.recv(_RECEIVE, flags)
        except BlockingIOError:
            raise
        except OSError as error:  # ENOBUFS: more answers than the receive buffer takes (netlink(7))
            raise NetlinkError("netlink receive", error.errno or 0, "") from error

    def _receive_queued(self) -> Iterator[tuple[int, int, int, bytes]]:
        """What is in the receive queue now, without waiting."""
        while True:
            try:
                data = self._read(_socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from _messages(data)


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message of a datagram."""
    offset, end = 0, len(data)
    while offset + 16 <= end:
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if size < 16 or offset + size > end:
            return
        yield kind, flags, sequence, data[offset + 16 : offset + size]
        offset += size + 3 & ~3


def _problem(request: Request, flags: int, data: bytes) -> NetlinkError | None:
    """What an NLMSG_ERROR says: None for success, and for what the request is content with."""
    number = -_INT.unpack_from(data)[0]
    if number == 0 or number in request.quiet:
        return None
    sentence = ""
    if flags & _ACK_TLVS:
        # struct nlmsgerr: int error, then our header, then (unless capped) our body, then attributes.
        echoed: int = 16 if flags & _CAPPED else int.from_bytes(data[4:8], "little") + 3 & ~3
        try:
            found = attributes.parse(data, 4 + echoed)
        except ValueError:
            found = {}
        sentence = attributes.as_text(found.get(1, b""))  # NLMSGERR_ATTR_MSG
    return NetlinkError(request.call, number, request.object, sentence)
