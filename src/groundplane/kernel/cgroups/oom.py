"""Waiting for the kernel to run out of a group's memory: an eventfd on version 1, poll(2) of a file on version 2."""

from __future__ import annotations

import errno
import os
import select

from groundplane.kernel.calls.files import write_text
from groundplane.kernel.cgroups.tree import flat_keyed
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class OomWatch(Protocol):
    """From the moment it is made; `close` it."""

    def wait(self, seconds: float) -> int | None:
        """How often it happened since the last call, waiting up to `seconds` for a first time.

        None once there is nothing left to wait for: the group is gone (v1), or no process is in it any more (v2).
        """

    def close(self) -> None: ...


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, path) from error


class V1Watch:
    """cgroup-v1/memory.rst, "OOM Control": the kernel adds one to the eventfd; also when the group is removed."""

    __slots__ = ("_control", "_directory", "_event")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._control = _open(f"{directory}/memory.oom_control")
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            write_text(f"{directory}/cgroup.event_control", f"{self._event} {self._control}")
        except KernelError:
            self.close()
            raise

    def wait(self, seconds: float) -> int | None:
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return 0 if os.path.exists(self._directory) else None
        count = os.eventfd_read(self._event)
        return count if os.path.exists(self._directory) else None

    def close(self) -> None:
        os.close(self._event)
        os.close(self._control)


class V2Watch:
    """cgroup-v2.rst: a change of memory.events and cgroup.events wakes poll(2) with POLLPRI."""

    __slots__ = ("_count", "_memory", "_state")

    def __init__(self, directory: str) -> None:
        self._memory = _open(f"{directory}/memory.events")
        try:
            self._state = _open(f"{directory}/cgroup.events")
        except KernelError:
            os.close(self._memory)
            raise
        self._count = self._read(self._memory).get("oom_kill", 0)
        self._read(self._state)  # poll(2) tells of changes since the last read

    def wait(self, seconds: float) -> int | None:
        poll = select.poll()
        poll.register(self._memory, select.POLLPRI)
        poll.register(self._state, select.POLLPRI)
        poll.poll(seconds * 1000)
        try:
            count = self._read(self._memory).get("oom_kill", 0)
            populated = self._read(self._state).get("populated")
        except OSError as error:
            if error.errno != errno.ENODEV:  # the group was removed
                raise
            return None
        happened, self._count = count - self._count, count
        return happened if happened or populated else None

    @staticmethod
    def _read(fd: int) -> dict[str, int]:
        return flat_keyed(os.pread(fd, 4096, 0).decode())

    def close(self) -> None:
        os.close(self._memory)
        os.close(self._state)
