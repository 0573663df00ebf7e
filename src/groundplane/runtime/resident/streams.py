"""A container's standard streams: FIFOs, a pipe for input, or a terminal; made by a launcher, owned by a supervisor.

FIFOs are opened read-write by both sides: the container gets no SIGPIPE when its supervisor dies, and what it wrote
waits for the next one. They never show an end of file, so the end is the pidfd's word, and then reading until empty.
They belong to the container's user, because reopening /dev/stdout asks the file's mode (proc_pid_fd(5)).
"""

from __future__ import annotations

import errno
import os
import select

from groundplane.kernel.calls.terminals import set_size
from groundplane.kernel.errors import KernelError
from groundplane.runtime.resident import slots
from groundplane.runtime.resident.output import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from groundplane.wire.spawner import Spawn

_NAMES = {1: "stdout", 2: "stderr"}
_FIFOS = {1: slots.STDOUT, 2: slots.STDERR}
_TERMINAL_CHUNK = 16 * 1024
_FIFO_SIZE = 1 << 20  # bytes that one can hold at most (pipe(7), /proc/sys/fs/pipe-max-size)
_SPLICE_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 2)


class Ends:
    """What a launcher makes: the container's `stdio`, and our ends of the same."""

    def __init__(self, spec: Spawn) -> None:
        """Raises OSError."""
        self.input = self.master = -1
        for name in _NAMES.values():
            path = f"{spec.run_dir}/{name}"
            os.mkfifo(path, 0o600)
            os.chown(path, spec.uid, spec.gid)
        self.fifos = [open_fifo(spec, stream) for stream in _NAMES]
        # So that the log is there, though perhaps empty, as soon as the container is.
        os.close(os.open(spec.log_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))
        if spec.terminal:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            self.stdio = (null, os.dup(null), os.dup(null))
            return
        if spec.stdin:
            stdin, self.input = os.pipe2(os.O_CLOEXEC)
            os.fchown(stdin, spec.uid, spec.gid)
            os.set_blocking(self.input, False)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        out, err = (os.open(f"{spec.run_dir}/{name}", os.O_RDWR | os.O_CLOEXEC) for name in _NAMES.values())
        self.stdio = (stdin, out, err)

    def take_terminal(self, master: int) -> None:
        if master >= 0:
            os.set_blocking(master, False)
            self.master = master
            self.input = os.dup(master)  # a second number, because poll(2) watches it for another purpose

    def deposit(self) -> dict[str, int]:
        """What the spawner keeps duplicates of: without them a kill would end a terminal, or standard input."""
        return _deposit(self.fifos[0], self.fifos[1], self.input, self.master)

    def handed_over(self) -> list[int]:
        """In the order of the slots."""
        return [*self.fifos, *(fd for fd in (self.input, self.master) if fd >= 0)]


class Streams:
    """A supervisor's: in their slots. Whether there are an input and a terminal is told by whoever filled these."""

    def __init__(self, spec: Callable[[], Spawn]) -> None:
        self._spec = spec
        self._recorder: Recorder | None = None
        self.has_input = False
        self.has_terminal = False

    def reopen(self, kept: Mapping[str, int]) -> None:
        """After another supervisor's death: those that the spawner kept, FIFOs else by their names. Raises OSError."""
        for stream, name in _NAMES.items():
            slots.fill(_FIFOS[stream], kept[name] if name in kept else open_fifo(self._spec(), stream))
        if "terminal" in kept:
            self.has_input = self.has_terminal = True
            slots.fill(slots.INPUT, os.dup(kept["terminal"]))
            slots.fill(slots.MASTER, kept["terminal"])
        elif "stdin" in kept:
            self.has_input = True
            slots.fill(slots.INPUT, kept["stdin"])

    @property
    def recorder(self) -> Recorder:
        """Opened with the first output: most containers are silent most of the time."""
        if self._recorder is None:
            spec = self._spec()
            self._recorder = Recorder(spec.run_dir, spec.log_path, spec.log_max_bytes, spec.log_files)
        return self._recorder

    def deposit(self) -> dict[str, int]:
        return _deposit(
            slots.STDOUT,
            slots.STDERR,
            slots.INPUT if self.has_input else -1,
            slots.MASTER if self.has_terminal else -1,
        )

    def take(self, stream: int) -> bytes:
        """What the container has written to this stream (at most 64 KiB); `recorder.record` puts it into the log."""
        return self.recorder.take(stream, _FIFOS[stream])

    def pump(self) -> bool:
        """Move a terminal's output on into the stdout FIFO; whether it may have more later.

        Through the FIFO, so that the bytes are never in this process's memory alone (splice(2) from a terminal: Linux
        ≥ 5.11). False: no process has the terminal open any more.
        """
        try:
            return os.splice(slots.MASTER, slots.STDOUT, _TERMINAL_CHUNK, flags=_SPLICE_NONBLOCK) > 0
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: its last user has closed it (drivers/tty/n_tty.c)
                raise
            return False

    def drain(self, sink: Callable[[int, bytes], None]) -> None:
        """Take and log all that is left, after the container's end. Raises OSError."""
        while self.has_terminal:
            more = self.pump()
            self._drain_fifos(sink)
            if not more or not _is_readable(slots.MASTER):
                break
        self._drain_fifos(sink)
        if self._recorder is not None:
            self._recorder.finish()

    def _drain_fifos(self, sink: Callable[[int, bytes], None]) -> None:
        for stream, fd in _FIFOS.items():
            left = _FIFO_SIZE  # who shares its PID namespace, or the host's, may write on for ever
            while left > 0 and _is_readable(fd) and (data := self.take(stream)):
                left -= len(data)
                sink(stream, data)
                self.recorder.record()

    def feed(self, data: bytes) -> bytes:
        """Write to standard input; what it does not take now is returned. Without one (or after its end) it is lost."""
        if not self.has_input:
            return b""
        try:
            return data[os.write(slots.INPUT, data) :]
        except BlockingIOError:
            return data
        except OSError:  # EPIPE: the container has closed its standard input; EIO: its terminal has gone
            return b""

    def end_input(self) -> bool:
        """Close standard input; whether there was one. A terminal's end is a character, and its client's affair."""
        if self.has_terminal or not self.has_input:
            return False
        os.close(slots.INPUT)
        self.has_input = False
        return True

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size, which also signals SIGWINCH inside."""
        if self.has_terminal:
            try:
                set_size(slots.MASTER, rows & 0xFFFF, columns & 0xFFFF)
            except KernelError:  # it has gone
                pass


def open_fifo(spec: Spawn, stream: int) -> int:
    return os.open(f"{spec.run_dir}/{_NAMES[stream]}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _deposit(out: int, err: int, stdin: int, master: int) -> dict[str, int]:
    kept = {"stdout": out, "stderr": err}
    if master >= 0:
        kept["terminal"] = master
    elif stdin >= 0:
        kept["stdin"] = stdin
    return kept


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
