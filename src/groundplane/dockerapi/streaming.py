"""Copying between a process's streams and a connection that was taken over.

Output is framed (wire/dockerstream.py) unless the process has a terminal. The client's end of input becomes the
process's; the end of both outputs ends the connection.
"""

from __future__ import annotations

import asyncio

from groundplane.dockerapi.hijack import Hijacked
from groundplane.engine.contract import Streams
from groundplane.wire.dockerstream import STDERR, STDOUT, encode_frame

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


class Wanted:
    """Which streams a client asked for, and how they go over the wire."""

    def __init__(self, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> None:
        self.stdin = stdin
        self.tty = tty
        self._outputs = {number for number, on in ((STDOUT, stdout), (STDERR, stderr)) if on}

    @property
    def content_type(self) -> str:
        return RAW if self.tty else MULTIPLEXED

    def encode(self, stream: int, data: bytes) -> bytes:
        """The bytes to send; empty where the client did not ask for that stream."""
        if self.tty:
            return data
        return encode_frame(stream, data) if stream in self._outputs else b""


async def copy(streams: Streams, taken: Hijacked, wanted: Wanted, *, close_stdin: bool) -> bool:
    """Copy both ways until the process's outputs have ended (True) or the client has gone (False)."""
    output = asyncio.ensure_future(_output(streams, taken, wanted))
    input = asyncio.ensure_future(_input(streams, taken, wanted, close_stdin=close_stdin))
    try:
        return await _first(output, input)
    finally:
        for task in (output, input):
            task.cancel()
        await asyncio.gather(output, input, return_exceptions=True)


async def _first(output: asyncio.Future[bool], input: asyncio.Future[None]) -> bool:
    await asyncio.wait((output, input), return_when=asyncio.FIRST_COMPLETED)
    if output.done():
        return output.result()
    input.result()  # the client has gone for good
    return False


async def _output(streams: Streams, taken: Hijacked, wanted: Wanted) -> bool:
    while (chunk := await streams.read()) is not None:
        if data := wanted.encode(*chunk):
            try:
                await taken.write(data)
            except ConnectionError:
                return False
    return True


async def _input(streams: Streams, taken: Hijacked, wanted: Wanted, *, close_stdin: bool) -> None:
    """Ends only when the client is gone: a client that has no more input still reads."""
    while data := await taken.read():
        if wanted.stdin:
            try:
                await streams.write(data)
            except ConnectionError:  # the process closed its standard input, or ended
                break
    if wanted.stdin and close_stdin and not taken.gone:
        await streams.close_stdin()
    await taken.wait_gone()
