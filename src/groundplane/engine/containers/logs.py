"""Reading a container's log: CRI lines across rotated files, from the last N or from a time, and on as it grows.

The supervisor writes `log` and renames it to `log.1`, `log.1` to `log.2` and so on. A reader holds the file that it is
in by descriptor, so a rename does not move it; at its end it looks where that file is now and goes on with the next
newer one. Growth is polled, at 50 ms: an fstat costs a microsecond, and most logs are followed by nobody.
"""

from __future__ import annotations

import asyncio
import calendar
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from groundplane.engine.contract import LogLine

_BLOCK = 64 * 1024
_POLL = 0.05  # seconds
_STAMP = 30  # characters of `2026-01-31T12:00:00.000000000Z`


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log to read; `since` and `until` in nanoseconds, 0 for none."""

    tail: int | None = None
    since: int = 0
    until: int = 0


async def read(path: str, wanted: Wanted) -> AsyncIterator[LogLine]:
    """The lines that are there now."""
    reader = _Reader(path, wanted)
    try:
        while lines := reader.more():
            for line in lines:
                yield line
            await asyncio.sleep(0)  # a long log must not hold the loop
    finally:
        reader.close()


async def follow(
    path: str, wanted: Wanted, running: Callable[[], bool], changed: Callable[[], asyncio.Event]
) -> AsyncIterator[LogLine]:
    """The lines that are there and those to come, until the container has ended (`changed` wakes before a poll)."""
    reader = _Reader(path, wanted)
    try:
        while True:
            last = not running()  # asked before reading, so that what was written before the end is read
            while lines := reader.more():
                for line in lines:
                    yield line
                await asyncio.sleep(0)
            if last or (wanted.until and time.time_ns() > wanted.until):
                return
            try:
                async with asyncio.timeout(_POLL):
                    await changed().wait()
            except TimeoutError:
                pass
    finally:
        reader.close()


class _Reader:
    """A position in the chain of files. `more` gives the next lines, none where there are none yet."""

    def __init__(self, path: str, wanted: Wanted) -> None:
        self._path = path
        self._wanted = wanted
        self._fd = -1
        self._offset = 0
        self._seconds: tuple[bytes, int] = (b"", 0)  # the last stamp's seconds, because most lines share them
        self._begin()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        """Go to the first wanted line: the oldest, or the N-th from the end."""
        files = _chain(self._path)
        if not files:
            return
        index = len(files) - 1
        if self._wanted.tail is not None:
            missing = self._wanted.tail
            for index in range(len(files)):
                self._open(files[index])
                self._offset, missing = _back(self._fd, missing)
                if not missing:
                    return
        self._open(files[index])

    def _open(self, path: str) -> None:
        self.close()
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1
        self._offset = 0

    def _return(self, fd: int, offset: int) -> None:
        self.close()
        self._fd, self._offset = fd, offset

    def more(self) -> list[LogLine]:
        while True:
            if self._fd < 0:
                self._open(self._path)
                if self._fd < 0:
                    return []
            block = os.pread(self._fd, _BLOCK, self._offset)
            if end := block.rfind(b"\n") + 1:
                self._offset += end
                if lines := list(self._lines(block[:end])):
                    return lines
            elif not self._advance():
                return []

    def _advance(self) -> bool:
        """From the end of a file that has been renamed to the next newer one; whether there is one."""
        ours = os.fstat(self._fd)
        files = _chain(self._path)
        for index, path in enumerate(files):
            if _same(ours, path):
                if index == 0:
                    return False
                former, offset = os.dup(self._fd), self._offset
                self._open(files[index - 1])
                if _same(ours, path):  # files move up, ours before the next: it is there, so the next one was, too
                    os.close(former)
                else:
                    self._return(former, offset)
                return True
        if not files:
            return False
        self._open(files[-1])  # so far behind that ours has been deleted
        return True

    def _lines(self, block: bytes) -> Iterator[LogLine]:
        wanted = self._wanted
        for raw in block[:-1].split(b"\n"):
            parts = raw.split(b" ", 3)
            if len(parts) != 4 or (at := self._stamp(parts[0])) is None:
                continue  # not a supervisor's line: somebody else wrote into the file
            if at < wanted.since or (wanted.until and at > wanted.until):
                continue
            yield LogLine(at, parts[1].decode(errors="replace"), parts[3] + b"\n" if parts[2] == b"F" else parts[3])

    def _stamp(self, text: bytes) -> int | None:
        if len(text) != _STAMP:
            return None
        try:
            if text[:19] != self._seconds[0]:
                seconds = calendar.timegm(time.strptime(text[:19].decode(), "%Y-%m-%dT%H:%M:%S"))
                self._seconds = (text[:19], seconds)
            return self._seconds[1] * 1_000_000_000 + int(text[20:29])
        except ValueError:
            return None


def _chain(path: str) -> list[str]:
    """The log's files, newest first. One number may be free: while they are renamed, one after the other."""
    files = [path] if os.path.exists(path) else []
    number, missing = 1, 0
    while missing < 2:
        if os.path.exists(f"{path}.{number}"):
            files.append(f"{path}.{number}")
        else:
            missing += 1
        number += 1
    return files


def _same(one: os.stat_result, path: str) -> bool:
    try:
        other = os.stat(path)
    except FileNotFoundError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _back(fd: int, count: int) -> tuple[int, int]:
    """Where the last `count` lines of a file begin, and how many more than it has were asked for."""
    end = os.fstat(fd).st_size
    if count <= 0:
        return end, 0
    at = end
    while at > 0:
        start = max(at - _BLOCK, 0)
        block = os.pread(fd, at - start, start)
        position = len(block) - 1 if at == end else len(block)  # the last line's own end does not begin another
        while (position := block.rfind(b"\n", 0, position)) >= 0:
            count -= 1
            if not count:
                return start + position + 1, 0
        at = start
    return 0, count - 1 if end else count


def files_of(path: str) -> list[str]:
    """Every file of a log, to delete them."""
    return _chain(path)
