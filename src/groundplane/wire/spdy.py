"""SPDY/3.1 framing as Kubernetes clients speak it: a connection that was upgraded, streams opened by the client.

    SYN_STREAM id, headers ──►            control frame: 1 | version 3 | type | flags | length | payload
                           ◄── SYN_REPLY  data frame:    0 | stream id         | flags | length | bytes
    data ◄──────────────────► data        flag FIN (1) ends one direction of a stream

Law: draft-mbelshe-httpbis-spdy-00 (SPDY/3), 2.2 and 2.6; header blocks are one zlib stream per direction, primed
with the dictionary of 2.6.10.1. Go's spdystream, which kubectl uses, sends no flow control and expects none.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from groundplane.base.errors import GroundError

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
_VERSION = 3
_LARGEST = 4 << 20  # one frame; clients send at most 32 KB of data in each
_LARGEST_HEADERS = 64 << 10  # once inflated

# 2.6.10.1: words with their lengths before them, then a run of text. (Underscores stand for spaces here.)
_WORDS = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
keep-alive origin
"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au"
    "thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd"
    "en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma"
    "y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag"
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri"
    "vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(w)) + w.replace("_", " ").encode() for w in _WORDS.split()) + _TEXT.encode()


class SpdyError(GroundError):
    """The bytes are not SPDY/3; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opened a stream; `headers` are in lower case. `fin`: it will send nothing on it."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Data:
    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is (`ping`)."""

    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The client opens no more streams."""


Event = Opened | Data | Reset | Ping | GoAway


class Server:
    """The server's half of one connection: bytes in, events out; the frames to send are functions of what to say."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> list[Event]:
        """The events that are whole now. Raises SpdyError."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= 8:
            word, tail = struct.unpack(">II", self._buffer[:8])
            flags, length = tail >> 24, tail & 0xFFFFFF
            if length > _LARGEST:
                raise SpdyError(f"SPDY: a frame of {length} bytes is larger than {_LARGEST}")
            if len(self._buffer) < 8 + length:
                break
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if word >> 31:
                if (event := self._control(word, flags, payload)) is not None:
                    events.append(event)
            else:
                events.append(Data(word, payload, bool(flags & FIN)))
        return events

    def _control(self, word: int, flags: int, payload: bytes) -> Event | None:
        version, kind = word >> 16 & 0x7FFF, word & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"SPDY: version {version} is not spoken here, only {_VERSION}")
        if kind == SYN_STREAM:
            stream = _number(payload, 0) & 0x7FFFFFFF
            return Opened(stream, self._headers(payload[10:]), bool(flags & FIN))
        if kind == RST_STREAM:
            return Reset(_number(payload, 0) & 0x7FFFFFFF)
        if kind == PING:
            return Ping(_number(payload, 0))
        if kind == GOAWAY:
            return GoAway()
        if kind in (HEADERS, SYN_REPLY):
            self._headers(payload[4:])  # the block belongs to the zlib stream, whoever wants it
        return None  # settings and windows say nothing that is acted on

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, _LARGEST_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"SPDY: a header block cannot be inflated: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"SPDY: a header block is larger than {_LARGEST_HEADERS} bytes")
        found, at = {}, 4
        for _ in range(_number(text, 0)):
            name, at = _string(text, at)
            value, at = _string(text, at)
            found[name.lower()] = value
        return found

    def reply(self, stream: int, headers: Mapping[str, str]) -> bytes:
        """SYN_REPLY: the stream is accepted."""
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(SYN_REPLY, struct.pack(">I", stream) + packed)


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(payload)) + payload


def reset(stream: int, status: int = 3) -> bytes:
    """RST_STREAM; status 3 is REFUSED_STREAM."""
    return _frame(RST_STREAM, struct.pack(">II", stream, status))


def ping(number: int) -> bytes:
    return _frame(PING, struct.pack(">I", number))


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">II", 1 << 31 | _VERSION << 16 | kind, len(payload)) + payload


def _number(text: bytes, at: int) -> int:
    if len(text) < at + 4:
        raise SpdyError("SPDY: a frame ends too early")
    number: int = struct.unpack_from(">I", text, at)[0]
    return number


def _string(text: bytes, at: int) -> tuple[str, int]:
    end = at + 4 + _number(text, at)
    if end > len(text):
        raise SpdyError("SPDY: a header ends too early")
    return text[at + 4 : end].decode("latin-1"), end
