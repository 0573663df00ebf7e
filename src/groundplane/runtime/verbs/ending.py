"""The end of a container: signalling its init, killing it, clearing it away. For `kill`, `delete` and `run`."""

from __future__ import annotations

import os
import select

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.process import pidfd_open, pidfd_send_signal
from groundplane.kernel.cgroups import registry
from groundplane.kernel.errors import KernelError
from groundplane.runtime import deletion
from groundplane.runtime.state import process_start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.state import Container, Store

_SIGKILL = 9
_PATIENCE = 10_000  # milliseconds for a killed init to end


def send(container: Container, number: int) -> None:
    """Signal init through a pidfd, proved to be the same process, so that a reused pid is never hit."""
    pidfd = pidfd_open(container.pid)
    try:
        if process_start_time(container.pid) != container.start_time:
            raise GroundError("container not running")
        pidfd_send_signal(pidfd, number)
        if number == _SIGKILL:
            _thaw(container)
    finally:
        os.close(pidfd)


def _thaw(container: Container) -> None:
    """Let a paused container die: a process in version 1's freezer does so only once it is thawed (runc, too)."""
    groups = registry.detect()
    if container.cgroup and groups.frozen(container.cgroup):
        groups.thaw(container.cgroup)


def end(container: Container) -> None:
    """SIGKILL, and wait until it has ended. Raises GroundError."""
    try:
        pidfd = pidfd_open(container.pid)
    except KernelError:
        return  # it has ended meanwhile
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    send(container, _SIGKILL)
    if not poll.poll(_PATIENCE):
        raise GroundError("container init still running")


def clear(store: Store, container: Container) -> list[str]:
    """Remove everything of a container whose init has ended; sentences of failed poststop hooks."""
    id, bundle, cgroup = container.id, container.bundle, container.cgroup
    deletion.delete({**container.config, "hooks": None}, bundle=bundle, id=id, cgroup=cgroup)
    deletion.release_root(container.config, bundle)
    store.remove(id)
    # After everything else is gone (runtime.md, Lifecycle, 12 and 13).
    return deletion.delete(container.config, bundle=bundle, id=id, cgroup="")
