"""`delete`: take a stopped container away: its cgroup with what is left in it, its directory; then poststop hooks."""

from __future__ import annotations

import select

from groundplane.base.errors import GroundError, NotFoundError
from groundplane.kernel.calls.process import pidfd_open
from groundplane.kernel.errors import KernelError
from groundplane.runtime import launch
from groundplane.runtime.state import Store, locked
from groundplane.runtime.verbs.kill import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.main import Globals
    from groundplane.runtime.state import Container

_PATIENCE = 10_000  # milliseconds for a killed init to end


def delete(given: Parsed, globals: Globals) -> int:
    (id,) = given.words
    store = Store(globals.root)
    force = given.switch("force")
    try:
        with locked(store.directory(id)):
            container = store.load(id)
            status = container.status()
            if status == "running" and not force:
                raise GroundError(f"cannot delete container {id} that is not stopped: running")
            if status != "stopped":
                end(container)
            warnings = clear(store, container)
    except NotFoundError:
        if not force:
            raise
        store.remove(id)  # what a killed `create` may have left: a directory without a state
        return 0
    for sentence in warnings:
        globals.log.warning(sentence)
    return 0


def end(container: Container) -> None:
    """SIGKILL, and wait until it has ended. Raises GroundError."""
    try:
        pidfd = pidfd_open(container.pid)
    except KernelError:
        return  # it has ended meanwhile
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    send(container, 9)
    if not poll.poll(_PATIENCE):
        raise GroundError("container init still running")


def clear(store: Store, container: Container) -> list[str]:
    """Remove everything of a container whose init has ended; sentences of failed poststop hooks."""
    id, bundle, cgroup = container.id, container.bundle, container.cgroup
    launch.delete({**container.config, "hooks": None}, bundle=bundle, id=id, cgroup=cgroup)
    store.remove(id)
    # After everything else is gone (runtime.md, Lifecycle, 12 and 13).
    return launch.delete(container.config, bundle=bundle, id=id, cgroup="")
