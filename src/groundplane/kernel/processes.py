"""What /proc says of one process: when it started (a pid alone may have been reused), and how it ended."""

from __future__ import annotations

import os

from groundplane.kernel.calls import process
from groundplane.kernel.errors import KernelError


def start_ticks(pid: int) -> int:
    """Clock ticks from boot to the start of `pid` (proc_pid_stat(5), field 22); 0 where there is no such process.

    Pid and ticks together name a process for good: the kernel hands out a pid again only after a full turn.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def zombie_status(pid: int, ticks: int) -> int | None:
    """The wait(2) status of a process that has ended and is not reaped yet (field 52); None for all others."""
    fields = _stat(pid)
    if not fields or int(fields[19]) != ticks or fields[0] not in ("Z", "X"):
        return None
    return int(fields[49])


def open_process(pid: int, ticks: int) -> int:
    """A pidfd of exactly this process, or -1 where it has gone."""
    try:
        fd = process.pidfd_open(pid)
    except KernelError:
        return -1
    if start_ticks(pid) != ticks:  # asked after the open, so that the descriptor is of the process that was looked at
        os.close(fd)
        return -1
    return fd


def exit_code(status: int) -> int:
    """The shell's and Docker's code of a wait(2) status: 0-255, 128 + signal."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the second, in parentheses, may hold anything); none if gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        text = os.read(fd, 4096).decode(errors="replace")
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)
    return text[text.rindex(")") + 2 :].split()
