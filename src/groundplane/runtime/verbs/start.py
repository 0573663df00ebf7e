"""`start`: tell the waiting init to execute its program, through the named pipes that `create` made."""

from __future__ import annotations

import errno
import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.process import pidfd_open
from groundplane.kernel.errors import KernelError
from groundplane.runtime.state import Store, locked
from groundplane.runtime.verbs import readiness
from groundplane.runtime.verbs.showing import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals
    from groundplane.runtime.notify import Relay
    from groundplane.runtime.state import Container


def start(given: Parsed, globals: Globals) -> int:
    (id,) = given.words
    store = Store(globals.root)
    with locked(store.directory(id)):
        container = store.load(id)
        status = status_of(container)
        if status == "stopped":
            raise GroundError("cannot start a container that has stopped")
        if status == "creating":
            raise GroundError("cannot start a container that is being created")
        if status == "paused":
            raise GroundError("cannot start a container in the paused state")
        if status != "created":
            raise GroundError("cannot start an already running container")
        if not container.config.get("process"):
            raise GroundError("process property must not be empty")
        relay = readiness.listen(container.directory)
        _open_gate(container)
    if (container.config.get("hooks") or {}).get("poststart"):
        from groundplane.runtime.hooks import run_poststart  # late: without such hooks `start` needs nothing of it
        from groundplane.runtime.verbs.ending import end

        try:
            run_poststart(container.config, bundle=container.bundle, id=id, pid=container.pid)
        except GroundError:
            end(container)
            raise
    if relay:
        _wait_for_notification(relay, container.pid)
    return 0


def _wait_for_notification(relay: Relay, pid: int) -> None:
    try:
        pidfd = pidfd_open(pid)
    except KernelError:
        return  # it has ended
    try:
        relay.wait(pidfd, pid)
    finally:
        os.close(pidfd)
        relay.close()


def _open_gate(container: Container) -> None:
    """Say `start`; end of file on the reply means that the program runs. Raises GroundError."""
    reply = os.open(f"{container.directory}/exec.reply", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            gate = os.open(f"{container.directory}/exec.fifo", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody reads: init has ended meanwhile
                raise GroundError("cannot start a container that has stopped") from None
            raise
        os.write(gate, b"start ")
        os.close(gate)
        os.unlink(f"{container.directory}/exec.fifo")
        os.set_blocking(reply, True)
        answer = os.read(reply, 32768).decode(errors="surrogateescape")
    finally:
        os.close(reply)
    word, _, text = answer.partition(" ")
    if word == "error":
        raise GroundError(text.partition(" ")[2])
    if word == "refused":
        from groundplane.runtime.failures import refusal  # late: it seldom is

        raise GroundError(str(refusal(text)))
