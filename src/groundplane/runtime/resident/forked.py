"""The first steps of every process that the spawner forks.

Written with the plainest means there are (no ctypes, no enumerations): each Python object that a process touches makes
a page of its own, and these lines run in every supervisor.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable
else:
    import _signal as signal  # the C module: `signal` computes with enumerations

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_LAST = 1 << 30


def settle(name: bytes, keep: Iterable[int]) -> None:
    """Lead a session of one's own, under a name of one's own, with default signals and only the descriptors `keep`.

    A session, because a signal from the terminal on which the spawner was started is not for containers.
    """
    os.setsid()
    fd = os.open("/proc/self/comm", os.O_WRONLY)  # what ps shows, at most 15 bytes (proc_pid_comm(5))
    os.write(fd, name)
    os.close(fd)
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    close_all_but(keep)


def close_all_but(keep: Iterable[int]) -> None:
    """Close every other descriptor (os.closerange is close_range(2), Linux ≥ 5.9)."""
    first = 0
    for fd in sorted(keep):
        if fd > first:
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, _LAST)
