"""An attached process: its output to ours, our input to it, a terminal's raw mode and size, signals passed on.

One poll loop over the connection, our standard input, and a pipe that signals write to. Nothing blocks on writing to
the engine while output waits (a container that stops reading must still be able to talk), so input is read only when
the last piece of it has been sent.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed knows only the Python half
import os
import select
import sys

from groundplane.wire.dockerstream import STDERR, FrameDecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

_CHUNK = 32768
_DETACH = b"\x10\x11"  # ctrl-p ctrl-q
# From `_signal`, the C module behind `signal`, which costs 3 ms because it makes enumerations of them.
_FORWARDED = {getattr(_signal, name): name for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")}
_SHUT_WR = 1


class Attached:
    """A connection that was taken over. `pump` returns True once the other side has ended, False when detached."""

    def __init__(
        self,
        connection: _socket.socket,
        rest: bytes,
        *,
        tty: bool,
        stdin: bool,
        resize: Callable[[int, int], None] | None = None,
        forward: Callable[[str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._rest = rest
        self._tty = tty
        self._stdin = stdin
        self._resize = resize if tty and sys.stdout.isatty() else None
        self._forward = forward
        self._decoder = FrameDecoder()
        self._pending = b""
        self._held = b""  # the first half of the detach keys
        self._eof = False

    def pump(self) -> bool:
        with (
            RawTerminal(on=self._tty and self._stdin),
            _Signals(resize=self._resize, forward=self._forward) as signals,
        ):
            if self._rest:
                self._show(self._rest)
            self._connection.setblocking(False)
            try:
                return self._loop(signals)
            finally:
                self._connection.close()

    def _loop(self, signals: _Signals) -> bool:
        engine, stdin = self._connection.fileno(), 0
        while True:
            poll = select.poll()
            poll.register(signals.fileno(), select.POLLIN)
            poll.register(engine, select.POLLIN | (select.POLLOUT if self._pending else 0))
            if self._stdin and not self._eof and not self._pending:
                poll.register(stdin, select.POLLIN)
            ready = dict(poll.poll())
            if signals.fileno() in ready:
                signals.handle()
            if ready.get(engine, 0) & select.POLLOUT:
                self._send()
            if ready.get(engine, 0) & ~select.POLLOUT and not self._receive():
                return True
            if stdin in ready and not self._pending and not self._take_input():
                return False

    def _receive(self) -> bool:
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._show(data)
        return bool(data)

    def _show(self, data: bytes) -> None:
        if self._tty:
            write_all(1, data)
            return
        for stream, piece in self._decoder.feed(data):
            write_all(2 if stream == STDERR else 1, piece)

    def _take_input(self) -> bool:
        """Read a piece of our input; False where it holds the detach keys."""
        try:
            data = os.read(0, _CHUNK)
        except OSError:  # our standard input is closed, or a terminal that hung up
            data = b""
        if not data:
            self._eof = True
            self._end_input()
            return True
        if self._tty:
            data, self._held = self._held + data, b""
            if _DETACH in data:
                return False
            if data.endswith(_DETACH[:1]):
                data, self._held = data[:-1], data[-1:]
        self._pending = data
        self._send()
        return True

    def _send(self) -> None:
        try:
            self._pending = self._pending[self._connection.send(self._pending) :] if self._pending else b""
        except BlockingIOError:
            pass
        except ConnectionError:
            self._pending = b""
            self._eof = True

    def _end_input(self) -> None:
        try:
            self._connection.shutdown(_SHUT_WR)
        except OSError:
            pass  # the other side has ended already


def write_all(fd: int, data: bytes) -> None:
    """All of it, to a descriptor of ours, whatever its mode (a terminal that another program made non-blocking)."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select((), (fd,), ())


class RawTerminal:
    """Our terminal passes every key on, and is as it was afterwards."""

    def __init__(self, *, on: bool) -> None:
        self._on = on and os.isatty(0)
        self._former: list[Any] = []

    def __enter__(self) -> None:
        if self._on:
            import termios
            import tty

            self._former = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)  # not TCSAFLUSH: what was typed ahead is for the container

    def __exit__(self, *_: object) -> None:
        if self._on:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._former)


class _Signals:
    """Signals as bytes in a pipe, so that the loop handles them between two steps."""

    def __init__(self, *, resize: Callable[[int, int], None] | None, forward: Callable[[str], None] | None) -> None:
        self._resize = resize
        self._forward = forward
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._former: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        wanted = [*_FORWARDED] if self._forward else []
        wanted += [_signal.SIGWINCH] if self._resize else []
        for number in wanted:
            self._former[number] = _signal.signal(number, self._note)
        if self._resize:
            self._tell_size()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            _signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def handle(self) -> None:
        for number in os.read(self._read, 64):
            if number == _signal.SIGWINCH:
                self._tell_size()
            elif self._forward:
                self._forward(_FORWARDED[number])

    def _note(self, number: int, frame: object) -> None:
        os.write(self._write, bytes((number,)))

    def _tell_size(self) -> None:
        if self._resize:
            columns, rows = os.get_terminal_size(1)
            self._resize(rows, columns)
