"""A container's standard streams, seen from its supervisor: FIFOs, a pipe for input, or a terminal.

FIFOs are opened read-write by both sides: the container gets no SIGPIPE when its supervisor dies, and what it wrote
waits for the next one. They never show an end of file, so the end is the pidfd's word, and then reading until empty.
They belong to the container's user, because reopening /dev/stdout asks the file's mode (proc_pid_fd(5)).
"""

from __future__ import annotations

import errno
import os
import select

from groundplane.runtime.resident.output import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from groundplane.wire.spawner import Spawn

_NAMES = {1: "stdout", 2: "stderr"}
_TERMINAL_CHUNK = 16 * 1024
_SPLICE_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 2)


class Streams:
    """The supervisor's ends. `input` is where standard input is written, or -1; `master` a terminal's, or -1."""

    def __init__(self, spec: Spawn) -> None:
        self._spec = spec
        self.fifos: dict[int, int] = {}
        self.input = -1
        self.master = -1
        self._recorder: Recorder | None = None

    def make(self) -> tuple[int, int, int]:
        """Make them new; the container's descriptors 0, 1 and 2, which the caller closes."""
        spec = self._spec
        for name in _NAMES.values():
            path = f"{spec.run_dir}/{name}"
            os.mkfifo(path, 0o600)
            os.chown(path, spec.uid, spec.gid)
        if spec.terminal:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            return null, os.dup(null), os.dup(null)
        if spec.stdin:
            stdin, self.input = os.pipe2(os.O_CLOEXEC)
            os.fchown(stdin, spec.uid, spec.gid)
            os.set_blocking(self.input, False)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        out, err = (os.open(f"{spec.run_dir}/{name}", os.O_RDWR | os.O_CLOEXEC) for name in _NAMES.values())
        return stdin, out, err

    def open(self, kept: Mapping[str, int]) -> None:
        """Open our ends and the log; `kept` are those that already are open. Raises OSError."""
        for stream, name in _NAMES.items():
            fd = kept.get(name, -1)
            if fd < 0:
                fd = os.open(f"{self._spec.run_dir}/{name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self.fifos[stream] = fd
        self.input = kept.get("stdin", self.input)
        self.master = kept.get("terminal", -1)
        if self.master >= 0:
            os.set_blocking(self.master, False)
            self.input = os.dup(self.master)  # a second number, because epoll(7) knows each only once
        spec = self._spec
        self._recorder = Recorder(spec.run_dir, spec.log_path, spec.log_max_bytes, spec.log_files)

    @property
    def recorder(self) -> Recorder:
        assert self._recorder is not None, "streams are used before they are open"
        return self._recorder

    def deposit(self) -> dict[str, int]:
        """What the spawner keeps duplicates of: without them a kill of ours would end a terminal, or standard input."""
        kept = {"stdout": self.fifos[1], "stderr": self.fifos[2]}
        if self.master >= 0:
            kept["terminal"] = self.master
        elif self.input >= 0:
            kept["stdin"] = self.input
        return kept

    def take(self, stream: int) -> bytes:
        """What the container has written to this stream (at most 64 KiB); `recorder.record` puts it into the log."""
        return self.recorder.take(stream, self.fifos[stream])

    def pump(self) -> bool:
        """Move a terminal's output on into the stdout FIFO; whether it may have more later.

        Through the FIFO, so that the bytes are never in this process's memory alone (splice(2) from a terminal: Linux
        ≥ 5.11). False: no process has the terminal open any more.
        """
        try:
            return os.splice(self.master, self.fifos[1], _TERMINAL_CHUNK, flags=_SPLICE_NONBLOCK) > 0
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: its last user has closed it (drivers/tty/n_tty.c)
                raise
            return False

    def drain(self, sink: Callable[[int, bytes], None]) -> None:
        """Take and log all that is left, after the container's end. Raises OSError."""
        while self.master >= 0:
            more = self.pump()
            self._drain_fifos(sink)
            if not more or not self._terminal_ready():
                break
        self._drain_fifos(sink)
        self.recorder.finish()

    def _drain_fifos(self, sink: Callable[[int, bytes], None]) -> None:
        for stream in self.fifos:
            while data := self.take(stream):
                sink(stream, data)
                self.recorder.record()

    def _terminal_ready(self) -> bool:
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        return any(events & select.POLLIN for _, events in poll.poll(0))

    def feed(self, data: bytes) -> bytes:
        """Write to standard input; what it does not take now is returned. Without one (or after its end) it is lost."""
        if self.input < 0:
            return b""
        try:
            return data[os.write(self.input, data) :]
        except BlockingIOError:
            return data
        except OSError:  # EPIPE: the container has closed its standard input; EIO: its terminal has gone
            return b""

    def end_input(self) -> bool:
        """Close standard input; whether there was one. A terminal's end is a character, and its client's affair."""
        if self.master >= 0 or self.input < 0:
            return False
        os.close(self.input)
        self.input = -1
        return True

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size, which also signals SIGWINCH inside."""
        if self.master < 0:
            return
        import termios  # late: most containers have no terminal

        try:
            termios.tcsetwinsize(self.master, (rows & 0xFFFF, columns & 0xFFFF))
        except termios.error:  # it has gone
            pass
