"""SPDY and channel bytes from outside: accepted, or their one documented error; any cut gives the same events."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.wire import channels, spdy


def block(headers: dict[str, str]) -> bytes:
    text = struct.pack(">I", len(headers))
    for pair in headers.items():
        for word in pair:
            text += struct.pack(">I", len(word)) + word.encode()
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    return deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)


def opening(stream: int, headers: dict[str, str], flags: int = 0) -> bytes:
    payload = struct.pack(">IIH", stream, 0, 0) + block(headers)
    return struct.pack(">II", 1 << 31 | 3 << 16 | spdy.SYN_STREAM, flags << 24 | len(payload)) + payload


CONVERSATION = (
    opening(1, {"StreamType": "stdin"}) + spdy.data(1, b"hello") + spdy.data(1, b"", fin=True) + spdy.ping(7)
    + spdy.reset(1)
)  # fmt: skip
EVENTS = [
    spdy.Opened(1, {"streamtype": "stdin"}, False),
    spdy.Data(1, b"hello", False),
    spdy.Data(1, b"", True),
    spdy.Ping(7),
    spdy.Reset(1),
]


def test_the_dictionary_is_the_standards() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@settings(derandomize=True, max_examples=100)
@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=6))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    server, events, at = spdy.Server(), [], 0
    for cut in [*sorted(cuts), len(CONVERSATION)]:
        events += server.feed(CONVERSATION[at:cut])
        at = cut
    assert events == EVENTS


@settings(derandomize=True, max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_accepted_or_refused(data: bytes, control: bool) -> None:
    head = struct.pack(">I", 1 << 31 | 3 << 16 | spdy.SYN_STREAM) if control else b""
    try:
        spdy.Server().feed(head + data)
    except spdy.SpdyError:
        pass


def test_large_and_foreign_frames_are_refused() -> None:
    for frame in (struct.pack(">II", 1, 0xFFFFFF), struct.pack(">II", 1 << 31 | 2 << 16 | 1, 0)):
        with pytest.raises(spdy.SpdyError):
            spdy.Server().feed(frame)
    with pytest.raises(spdy.SpdyError, match="larger"):
        spdy.Server().feed(opening(1, {"a": "x" * (1 << 20)}))


@settings(derandomize=True, max_examples=200)
@given(st.binary(max_size=50))
def test_channel_messages(data: bytes) -> None:
    for read in (channels.decode, channels.read_size, channels.read_exit):
        try:
            read(data)
        except channels.ChannelError:
            pass


@given(st.integers(0, 255))
@settings(derandomize=True)
def test_exit_codes_come_back(code: int) -> None:
    from groundplane.base.jsonyaml import dumps

    assert channels.read_exit(dumps(channels.exit_status(code))) == code
    assert channels.read_size(channels.write_size(24, 80)) == (24, 80)
