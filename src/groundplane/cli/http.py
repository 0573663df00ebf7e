"""One HTTP request over the engine's unix socket, read as it comes.

Written on `_socket`, the C module behind `socket`: `http.client` costs 29 ms at import, `socket` alone 5. One
connection a request: connecting costs 50 µs. An answer may be taken over (`hijack`): then the connection is a stream.
"""

from __future__ import annotations

import _socket

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65536
_MAX_HEAD = 65536
_BROKEN = "the engine ended in the middle of its answer; containers go on, see `ground ps -a`"


class ProtocolError(GroundError):
    """The answer broke off, or is not HTTP/1.1 as we speak it."""


class Response:
    """Status, headers (lower case), and the body, which is read once: whole, in pieces, or not at all."""

    def __init__(self, sock: _socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        try:
            self.status, self.headers = self._read_head()
        except BaseException:
            self.close()
            raise

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD or not self._more():
                raise ProtocolError("the engine closed the connection before it answered")
        head, self._buffer = self._buffer[:end].decode("latin-1"), self._buffer[end + 4 :]
        lines = head.split("\r\n")
        words = lines[0].split(" ", 2)
        if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise ProtocolError(f"not an HTTP answer: {lines[0]!r}")
        pairs = (line.partition(":") for line in lines[1:])
        return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives."""
        if self.status in (204, 304):
            return
        if "chunked" in self.headers.get("transfer-encoding", ""):
            yield from self._chunks()
        elif (length := self.headers.get("content-length")) is not None:
            left = int(length)
            while left:
                if not self._buffer and not self._more():
                    raise ProtocolError(_BROKEN)
                piece, self._buffer = self._buffer[:left], self._buffer[left:]
                left -= len(piece)
                yield piece
        else:
            while self._buffer or self._more():
                piece, self._buffer = self._buffer, b""
                yield piece

    def read(self) -> bytes:
        """The whole body; closes the connection."""
        try:
            return b"".join(self.pieces())
        finally:
            self.close()

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they arrive, without their ends."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def first_line(self) -> bytes:
        """The body's first line once it is there, empty where there is none; closes the connection, come what may."""
        try:
            return next(self.lines(), b"")
        finally:
            self.close()

    def hijack(self) -> tuple[_socket.socket, bytes]:
        """The connection itself, and what was read of it beyond the head."""
        rest, self._buffer = self._buffer, b""
        return self._socket, rest

    def close(self) -> None:
        self._socket.close()

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise ProtocolError(f"not a chunk's size: {line!r}") from None
            if size == 0:
                while self._line():
                    pass
                return
            while size:
                if not self._buffer and not self._more():
                    raise ProtocolError(_BROKEN)
                piece, self._buffer = self._buffer[:size], self._buffer[size:]
                size -= len(piece)
                yield piece
            self._line()

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self._more():
                raise ProtocolError(_BROKEN)
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _more(self) -> bool:
        try:
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise ProtocolError(f"the connection to the engine broke: {error.strerror}") from error
        self._buffer += data
        return bool(data)


def send(path: str, method: str, target: str, body: bytes | None = None, *, upgrade: bool = False) -> _socket.socket:
    """Connect to the socket at `path` and send one request. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
        head = f"{method} {target} HTTP/1.1\r\nHost: ground\r\n"
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else "Connection: close\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        elif method != "GET":
            head += "Content-Length: 0\r\n"
        sock.sendall(head.encode("latin-1") + b"\r\n" + (body or b""))
    except BaseException:
        sock.close()
        raise
    return sock


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, also: bytes = b"") -> str:
    """Percent-encoding (RFC 3986); `also` stay as they are."""
    return "".join(chr(b) if b in _SAFE or b in also else f"%{b:02X}" for b in text.encode("utf-8", "surrogateescape"))


def target(path: str, query: dict[str, str] | None = None) -> str:
    """A request's path with its query; empty values are left out."""
    pairs = [f"{quote(key)}={quote(value)}" for key, value in (query or {}).items() if value]
    return quote(path, b"/:@") + ("?" + "&".join(pairs) if pairs else "")
