"""One gRPC health check over HTTP/2, without I/O: the bytes to send, and what the answer's frames say.

    client                                   server
    preface, SETTINGS ──────────────────────►
    HEADERS POST /grpc.health.v1.Health/Check►
    DATA HealthCheckRequest, END_STREAM ────►
                                             ◄── SETTINGS (acknowledged), HEADERS, DATA HealthCheckResponse, HEADERS

RFC 9113 (HTTP/2), RFC 7541 (HPACK: only literals and the static table are sent, headers received are not read),
grpc/doc/PROTOCOL-HTTP2.md, grpc/doc/health-checking.md.
"""

from __future__ import annotations

import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_MAX_FRAME = 16_384
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class GrpcHealthError(Exception):
    """The server does not speak HTTP/2 as a gRPC server does."""


def request(authority: str, service: str) -> bytes:
    """Everything the client says of its own: preface, settings, one call of Health/Check for `service`."""
    headers = b"\x83\x86"  # :method POST, :scheme http (static table 3 and 6)
    headers += b"\x04" + _text("/grpc.health.v1.Health/Check")  # :path, name 4
    headers += b"\x01" + _text(authority)  # :authority, name 1
    headers += b"\x0f\x10" + _text("application/grpc")  # content-type, name 31
    headers += b"\x00" + _text("te") + _text("trailers")
    name = service.encode()
    message = b"\x0a" + _length(len(name)) + name if name else b""
    body = b"\0" + struct.pack(">I", len(message)) + message
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, headers)
        + _frame(_DATA, _END_STREAM, 1, body)
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _text(value: str) -> bytes:
    data = value.encode()
    return (bytes((len(data),)) if len(data) < 127 else b"\x7f" + _length(len(data) - 127)) + data


def _length(number: int) -> bytes:
    """A variable-length integer of 7 bits a byte: HPACK's continuation and protobuf's varint are the same."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class Answer:
    """Fed with what the server sends. `done` once the call has ended; `reply` takes what has to be sent back."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body = bytearray()
        self.done = False
        self.reply = bytearray()

    def feed(self, data: bytes) -> None:
        """Read the frames that are whole. Raises GrpcHealthError."""
        self._buffer += data
        while len(self._buffer) >= 9 and not self.done:
            size = int.from_bytes(self._buffer[:3], "big")
            if size > _MAX_FRAME:
                raise GrpcHealthError("the server does not speak HTTP/2")
            if len(self._buffer) < 9 + size:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            payload = bytes(self._buffer[9 : 9 + size])
            del self._buffer[: 9 + size]
            self._take(kind, flags, payload)

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self.reply += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self.reply += _frame(_PING, _ACK, 0, payload)
        elif kind == _DATA:
            self._body += payload
        if kind in (_RST_STREAM, _GOAWAY) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self.done = True

    @property
    def status(self) -> str:
        """SERVING, NOT_SERVING …; empty where the server does not offer the health service (trailers only)."""
        if len(self._body) < 5:
            return ""
        message = self._body[5 : 5 + int.from_bytes(self._body[1:5], "big")]
        number = message[1] if len(message) >= 2 and message[0] == 0x08 else 0
        return _STATUSES[number] if number < len(_STATUSES) else "UNKNOWN"
