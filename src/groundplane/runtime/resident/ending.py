"""How a container ended: its exit status, whoever was its parent; whether memory ran out; and the file that says so."""

from __future__ import annotations

import json
import os

from groundplane.kernel.calls import process
from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import exit_code, start_ticks, zombie_status
from groundplane.wire.spawner import UNKNOWN, Exited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from groundplane.kernel.cgroups.contract import Groups

_PATIENCE = 30  # turns of 100 ms: a PID 1 may reap only every 2 seconds


def status_of_child(pid: int) -> int | None:
    """The exit code of a container that has ended, if it is our child. It stays a zombie until `reap`.

    So that its status is not lost with us before it is in the exit file: a zombie goes on to the spawner (waitid(2),
    WNOWAIT). One that joined a user namespace is the launcher's, and the spawner's after it: see `stages/between.py`.
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # it was not ours
        pass


def learn_status(pid: int, ticks: int, pidfd: int, told: Callable[[float], int | None]) -> int:
    """The exit code of a container that is not our child, or UNKNOWN.

    Three sources, whichever speaks first: the spawner (a subreaper: the orphan became its child; `told` waits for its
    word), the kernel through the pidfd after the reap (PIDFD_GET_INFO, Linux ≥ 6.15), and /proc while it is a zombie.
    Without any of them for 3 seconds, or once it is gone and nobody can know, it is UNKNOWN.
    """
    for turn in range(_PATIENCE):
        if (code := told(0 if turn == 0 else 0.1)) is not None:
            return code
        if pidfd >= 0 and (status := process.pidfd_exit_status(pidfd)) is not None:
            return exit_code(status)
        if (status := zombie_status(pid, ticks)) is not None:
            return exit_code(status)
        if pidfd < 0 and start_ticks(pid) != ticks and turn > 2:
            break
    return UNKNOWN


def oom_killed(groups: Groups, cgroup: str) -> bool:
    """Whether the kernel killed a process of the container for want of memory. Asked before the cgroup goes."""
    try:
        return groups.oom_count(cgroup) > 0
    except KernelError:
        return False  # the group cannot be read any more: nothing says that it was


def write_exit_file(path: str, end: Exited, *, started_at: int, sync: bool) -> Exited:
    """Leave the end durably, unless a former supervisor did already; the end that stands there.

    With the start, because an engine that was killed meanwhile may never have heard of it. Written beside, flushed and
    renamed, so that a reader sees all of it or nothing (rename(2)). `sync` waits for the disk, because after a power
    failure the engine must not take the container for one that never ended. Raises OSError.
    """
    if (former := read_exit_file(path)) is not None:
        return former
    document = json.dumps({"code": end.code, "oom": end.oom, "at": end.at, "started": started_at}).encode()
    fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, document)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(f"{path}.tmp", path)
    return end


def read_exit_file(path: str) -> Exited | None:
    try:
        with open(path, "rb") as f:
            document = json.load(f)
        return Exited(int(document["code"]), bool(document["oom"]), int(document["at"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
