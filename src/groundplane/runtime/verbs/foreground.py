"""Staying with a process: its terminal relayed, signals passed on, its exit code returned. For `run` and `exec`."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # because `signal` builds enumerations for 3 ms
import os
import select

from groundplane.kernel.calls import terminals
from groundplane.kernel.calls.process import pidfd_send_signal
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.runtime.created import Created

# Not passed on: those about our own children and output, and those that cannot be caught.
_OURS = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP, signal.SIGWINCH, signal.SIGTSTP}
_SYNCHRONOUS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGSYS,
    signal.SIGTRAP,
}


def attend(created: Created) -> None:
    """What must be so before the process starts: its terminal makes no `\\r\\n` of `\\n`, signals are passed on."""
    if created.console_fd >= 0:
        terminals.clear_onlcr(created.console_fd)
    _forward_signals(created.pidfd)


def _forward_signals(pidfd: int) -> None:
    """Pass what we are sent on to the process, from now until we end."""

    def pass_on(number: int, frame: Any) -> None:
        try:
            pidfd_send_signal(pidfd, number)
        except KernelError:
            pass  # it has just ended; we are about to find out

    for number in signal.valid_signals() - _OURS - _SYNCHRONOUS:
        try:
            signal.signal(number, pass_on)
        except (OSError, ValueError):
            pass  # glibc keeps two real-time signals for itself


def stay(created: Created) -> int:
    """Wait for the process; relay its terminal if it has one. Returns its code, 128 + the signal's number if killed."""
    if created.console_fd >= 0:
        _relay(created.pidfd, created.console_fd)
    _, status = os.waitpid(created.pid, 0)
    os.close(created.pidfd)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _relay(pidfd: int, console: int) -> None:
    """Copy between our terminal and the container's until the process has ended and its output is read."""
    import termios
    import tty

    saved = None
    if os.isatty(0):
        saved = termios.tcgetattr(0)
        tty.setraw(0)
        _copy_size(console)
        signal.signal(signal.SIGWINCH, lambda number, frame: _copy_size(console))
    try:
        _pump(pidfd, console)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        os.close(console)


def _copy_size(console: int) -> None:
    try:
        terminals.set_size(console, *terminals.get_size(0))
    except KernelError:
        pass  # a size is a courtesy


def _pump(pidfd: int, console: int) -> None:
    poll = select.poll()
    poll.register(console, select.POLLIN)
    poll.register(0, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    ended = False
    while True:
        ready = dict(poll.poll(0 if ended else None))
        if console in ready:
            try:
                data = os.read(console, 65536)
            except OSError:  # EIO: the last slave is closed
                return
            _write_all(1, data)
        elif ended:
            return
        if pidfd in ready:
            ended = True
            poll.unregister(pidfd)
        if 0 in ready:
            try:
                data = os.read(0, 65536)
            except OSError:
                data = b""
            if not data:
                poll.unregister(0)
                data = b"\x04"  # end of transmission: what a terminal's user would type
            _write_all(console, data)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
