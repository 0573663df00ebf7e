"""Docker's framing of several output streams over one connection ("stdcopy").

Each frame is 8 bytes of header, `stream 0 0 0 size` with the size in big-endian order, then that many bytes (Docker
Engine API, "Attach to a container: Stream format"). A terminal's output is not framed. Frames come from a server that
reads a container's pipe, so they are small; a size beyond `MAX_FRAME` is a damaged stream.

Imports nothing: the command line reads such streams in its first milliseconds.
"""

from __future__ import annotations

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3
HEADER = 8
MAX_FRAME = 1 << 24


class BadFrame(ValueError):
    """The bytes are not such frames."""


def encode_frame(stream: int, data: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


class FrameDecoder:
    """Bytes in, in pieces of any size; whole or partial frames' data out, in order, as they come."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(stream, bytes) for what came; a long frame comes in several pieces. Raises BadFrame."""
        out: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                out.append((self._stream, piece))
                self._left -= len(piece)
                at += len(piece)
                continue
            missing = HEADER - len(self._header)
            self._header += data[at : at + missing]
            at += missing
            if len(self._header) == HEADER:
                self._read_header()
        return out

    @property
    def between_frames(self) -> bool:
        """Whether the stream may end here."""
        return not self._left and not self._header

    def _read_header(self) -> None:
        header, self._header = self._header, b""
        self._stream, self._left = header[0], int.from_bytes(header[4:], "big")
        if self._stream > SYSTEM_ERROR or header[1:4] != b"\0\0\0" or self._left > MAX_FRAME:
            raise BadFrame(f"not a frame header of Docker's stream format: {header!r}")
