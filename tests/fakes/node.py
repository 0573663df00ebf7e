"""A node's streaming face without a node: a few scripted commands, and logs from a list."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping

from groundplane.apiserver.cache.stored import Object


class FakeStreams:
    """A process of one of these commands.

    `cat` copies its input, `both OUT ERR` writes to both outputs, `exit N` ends with N, `size` tells the terminal's
    size once it is known.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._output: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._code = 0
        self.closed = threading.Event()
        match command:
            case ["both", out, err]:
                self._end((1, out.encode()), (2, err.encode()))
            case ["exit", code]:
                self._code = int(code)
                self._end()
            case ["cat"] | ["size"]:
                pass
            case _:
                self._code = 127
                self._end((2, b"not found\n"))

    def _end(self, *pieces: tuple[int, bytes]) -> None:
        for piece in (*pieces, None):
            self._output.put_nowait(piece)

    async def write(self, data: bytes) -> None:
        self._output.put_nowait((1, data))

    async def close_stdin(self) -> None:
        self._output.put_nowait(None)

    async def read(self) -> tuple[int, bytes] | None:
        return await self._output.get()

    async def resize(self, rows: int, columns: int) -> None:
        if self._command == ["size"]:
            self._end((1, f"{rows}x{columns}".encode()))

    async def wait(self) -> int:
        return self._code

    async def close(self) -> None:
        self.closed.set()


class FakeNode:
    """NodeApi and NodeDialer in one; `started` are the processes of all execs."""

    def __init__(self, log: list[bytes] | None = None) -> None:
        self._log = log or []
        self.started: list[FakeStreams] = []
        self.queries: list[Mapping[str, str]] = []

    def dial(self, node: Object) -> FakeNode:
        return self

    async def logs(self, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        self.queries.append(query)
        for line in self._log:
            yield line

    async def exec(
        self, namespace: str, pod: str, container: str, command: list[str],
        *, stdin: bool, stdout: bool, stderr: bool, tty: bool,
    ) -> FakeStreams:  # fmt: skip
        self.started.append(FakeStreams(command))
        return self.started[-1]
