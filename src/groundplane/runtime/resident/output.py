"""From a container's streams to log lines, each byte exactly once, whoever is killed in between.

A supervisor that is killed between reading a FIFO and writing its log would lose what it had read. So bytes are never
only in its memory:

    FIFO --splice(2)--> spool file --pread, format--> log file --then--> journal (one 40-byte pwrite)

`splice` moves bytes inside the kernel: whenever the supervisor is killed, each byte is in the FIFO or in the spool,
and the spool's size says which. The *journal* says how far the log and each spool count:
(log size, then for both streams: generation of the spool file, first byte of it that is not in the log yet).
A kill between log write and journal leaves a log longer than the journal says: `Recorder` cuts it back and writes the
same lines again. A line without its end stays in the spool until the rest comes, at most MAX_LINE bytes of it.
Spools are renewed once they are large: the rest goes to a file of the next generation, and the journal switches.

Lines are CRI's: `<RFC3339Nano> stdout F text`, with P for the parts of a line longer than MAX_LINE and for a last line
that never ended (kubernetes/kubernetes, pkg/kubelet/kuberuntime/logs: readers join P with what follows).
"""

from __future__ import annotations

import os
import struct
import time

CHUNK = 64 * 1024  # a FIFO's capacity (pipe(7))
MAX_LINE = 16 * 1024  # as containerd and dockerd split
SPOOL_LIMIT = 1 << 20
STREAMS = (b"", b"stdout", b"stderr")

_JOURNAL = struct.Struct("=5Q")
_SPLICE_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 2)


class _Spool:
    """One stream's bytes on their way to the log: those in [start, size) are not in it yet."""

    __slots__ = ("_directory", "_stream", "fd", "generation", "size", "start")

    def __init__(self, directory: str, stream: int, generation: int, start: int) -> None:
        self._directory = directory
        self._stream = stream
        self.generation = generation
        self.fd = os.open(self._path(generation), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.fd).st_size
        self.start = start if start <= self.size else 0

    def _path(self, generation: int) -> str:
        return f"{self._directory}/spool.{self._stream}.{generation & 1}"

    def fill(self, fifo: int) -> int:
        """Move what the FIFO holds here; how many bytes came (0: it is empty)."""
        try:
            count = os.splice(fifo, self.fd, CHUNK, offset_dst=self.size, flags=_SPLICE_NONBLOCK)
        except BlockingIOError:
            return 0
        self.size += count
        return count

    def rest(self) -> bytes:
        return os.pread(self.fd, self.size - self.start, self.start) if self.size > self.start else b""

    def renew(self) -> str:
        """Go on in the next generation's file with only the rest. The former file's path, to delete once noted."""
        rest = self.rest()
        former = self._path(self.generation)
        path = self._path(self.generation + 1)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.pwrite(fd, rest, 0)
        os.close(self.fd)
        self.fd, self.size, self.start = fd, len(rest), 0
        self.generation += 1
        return former


class Recorder:
    """The log of one container and the bytes on their way to it."""

    __slots__ = ("_files", "_journal", "_log", "_log_path", "_log_size", "_max_bytes", "_spools")

    def __init__(self, directory: str, log_path: str, max_bytes: int, files: int) -> None:
        """Open, or go on where a killed supervisor stopped. Raises OSError."""
        self._log_path = log_path
        self._max_bytes = max_bytes
        self._files = files
        self._journal = os.open(f"{directory}/journal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._log, self._log_size = self._open_log()
        known = os.pread(self._journal, _JOURNAL.size, 0)
        positions = (self._log_size, 0, 0, 0, 0)
        if len(known) == _JOURNAL.size:
            positions = _JOURNAL.unpack(known)
        if self._log_size > positions[0]:  # killed between log write and journal: those lines are written again
            os.ftruncate(self._log, positions[0])
            self._log_size = positions[0]
        self._spools = {1: _Spool(directory, 1, *positions[1:3]), 2: _Spool(directory, 2, *positions[3:5])}
        self._note()

    def take(self, stream: int, fifo: int) -> bytes:
        """Take over what the FIFO holds (at most CHUNK); the bytes, for those attached. `record` follows."""
        spool = self._spools[stream]
        count = spool.fill(fifo)
        return os.pread(spool.fd, count, spool.size - count) if count else b""

    def record(self) -> None:
        """Log the lines that have been taken over and are complete. Raises OSError (disk full): to be called again."""
        for stream, spool in self._spools.items():
            if data := spool.rest():
                text, used = cri_lines(stream, data)
                if used:
                    self._write(stream, text, used)

    def finish(self) -> None:
        """Log also last lines that have no end. Raises OSError."""
        self.record()
        for stream, spool in self._spools.items():
            if data := spool.rest():
                self._write(stream, _parts(_prefix(stream, b"P"), data), len(data))

    def _write(self, stream: int, text: bytes, used: int) -> None:
        """Log `text`, which stands for `used` bytes of the spool; all of it or nothing. Raises OSError."""
        done = 0
        try:
            while done < len(text):
                done += os.pwrite(self._log, text[done:] if done else text, self._log_size + done)
        except OSError:
            os.ftruncate(self._log, self._log_size)
            raise
        self._log_size += len(text)
        spool = self._spools[stream]
        spool.start += used
        former = spool.renew() if spool.size > SPOOL_LIMIT else ""
        self._note()
        if former:
            os.unlink(former)
        if self._log_size >= self._max_bytes:
            self._rotate()

    def _note(self) -> None:
        out, err = self._spools[1], self._spools[2]
        record = _JOURNAL.pack(self._log_size, out.generation, out.start, err.generation, err.start)
        os.pwrite(self._journal, record, 0)  # one system call: a kill leaves the old record or the new one

    def _rotate(self) -> None:
        """`log` → `log.1` → … → `log.<files - 1>`. Killed in between, the next one starts over with a smaller log."""
        for number in range(self._files - 1, 0, -1):
            source = self._log_path if number == 1 else f"{self._log_path}.{number - 1}"
            try:
                os.rename(source, f"{self._log_path}.{number}")
            except FileNotFoundError:
                continue
        os.close(self._log)
        self._log, self._log_size = self._open_log()
        self._note()

    def _open_log(self) -> tuple[int, int]:
        fd = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return fd, os.fstat(fd).st_size


def cri_lines(stream: int, data: bytes) -> tuple[bytes, int]:
    """The log's text for all of `data` that can be written now, and how many bytes of `data` that is.

    The same data always gives the same number of bytes, however often it is formatted: a reader who followed lines
    that were cut back and written again is still at the right place.
    """
    end = data.rfind(b"\n") + 1
    full, partial = _prefix(stream, b"F"), _prefix(stream, b"P")
    if len(data) <= MAX_LINE:  # the usual case: no line of it can be too long
        text = full + data[: end - 1].replace(b"\n", b"\n" + full) + b"\n" if end else b""
        if len(data) - end < MAX_LINE:
            return text, end
    pieces = []
    for body in data[: end - 1].split(b"\n") if end else ():
        head = len(body) // MAX_LINE * MAX_LINE
        pieces.append(_parts(partial, body[:head]) + full + body[head:] + b"\n")
    tail = end + (len(data) - end) // MAX_LINE * MAX_LINE
    pieces.append(_parts(partial, data[end:tail]))
    return b"".join(pieces), tail


def _parts(prefix: bytes, data: bytes) -> bytes:
    """`data`, which has no line end, as partial lines of at most MAX_LINE bytes."""
    return b"".join(prefix + data[at : at + MAX_LINE] + b"\n" for at in range(0, len(data), MAX_LINE))


def _prefix(stream: int, tag: bytes) -> bytes:
    whole, fraction = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return b"%s.%09dZ %s %s " % (stamp.encode(), fraction, STREAMS[stream], tag)
