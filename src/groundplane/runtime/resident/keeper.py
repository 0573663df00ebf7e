"""Keeps the daemon running: starts `groundd`, and starts it again, with back-off, when it dies.

A daemon that ends with 0, or has said that it will, was asked to; one that dies before it ever spoke to the spawner
cannot start, and trying again would only hide its message. Both end the spawner too. Whoever started the first daemon
waits on a readiness pipe: only the first one inherits it.
"""

from __future__ import annotations

import os
import time

from groundplane.kernel.processes import open_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BACK_OFF = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start; the last one again and again
_HEALTHY = 30.0  # seconds of life after which earlier deaths are forgotten


class Keeper:
    """One daemon. `pidfd` is of its present life, -1 between two; `due` says when to start it again, 0 for not."""

    def __init__(self, argv: Sequence[str], ready_fd: int) -> None:
        self._argv = list(argv)
        self._ready_fd = ready_fd
        self._started_at = 0.0
        self._deaths = 0
        self.pid = 0
        self.pidfd = -1
        self.due = 0.0
        self.spoke = False  # whether any life of it has connected
        self.leaving = False  # whether it has said that it was asked to end

    def start(self) -> None:
        """Start the daemon. Raises OSError where not even a process can be made."""
        self._started_at = time.monotonic()
        self.due, self.leaving = 0.0, False
        pid = os.fork()
        if pid == 0:
            self._become_daemon()
        self._forget_ready_fd()
        self._follow(pid, os.pidfd_open(pid))

    def adopt(self, pid: int, ticks: int) -> bool:
        """Keep a daemon that is not our child: it started us, after the death of our predecessor."""
        if (pidfd := open_process(pid, ticks)) < 0:
            return False
        self._started_at = time.monotonic()
        self.spoke = True
        self._follow(pid, pidfd)
        return True

    def _follow(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd

    def _become_daemon(self) -> None:
        try:
            environment = dict(os.environ)
            if self._ready_fd >= 0:
                os.set_inheritable(self._ready_fd, True)
                environment["GROUND_READY_FD"] = str(self._ready_fd)
            os.execvpe(self._argv[0], self._argv, environment)
        except OSError as error:
            os.write(2, f"{self._argv[0]} cannot be executed: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _forget_ready_fd(self) -> None:
        """Close our copy, so that the one who waits sees the end of file when the daemon dies before it is ready."""
        if self._ready_fd >= 0:
            os.close(self._ready_fd)
            self._ready_fd = -1

    def died(self, code: int | None) -> bool:
        """Note the end of this life (`code` None: unknown, not our child); whether there will be another."""
        os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1
        if code == 0 or self.leaving or not self.spoke:
            return False
        now = time.monotonic()
        if now - self._started_at > _HEALTHY:
            self._deaths = 0
        delay = _BACK_OFF[min(self._deaths, len(_BACK_OFF) - 1)]
        self._deaths += 1
        self.due = now + delay
        os.write(
            2, f"groundd died ({'unknown' if code is None else code}); it is started again in {delay:g} s\n".encode()
        )
        return True
