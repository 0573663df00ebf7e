"""The file `supervise` of a container's run directory: as long as it is there, somebody must supervise.

It holds the order itself, so that another supervisor can take over. The spawner writes it before it forks, under a lock
(flock(2)) whose descriptor goes to the launcher alone and is closed with its end. So after a kill of the spawner the
next one can tell a container that is being made, whose supervisor does not listen yet, from one that nobody supervises:
a second supervisor beside a launcher would clear the container away under its hands.

    spawner                    supervisor               launcher
      | writes, locks
      | Spawn + the lock -------> | fork, the lock -------> | makes the container; sock listens
      | closes its copy           | closes its copy         | ends: the lock is free
"""

from __future__ import annotations

import fcntl
import os

from groundplane.wire.spawner import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.wire.spawner import Spawn


def write_order(spec: Spawn) -> int:
    """Write the file; the descriptor that holds its lock. Raises OSError."""
    fd = os.open(_path(spec), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # at once: orders come one by one, and a reader holds it for a moment only
        os.write(fd, encode(spec))
    except OSError:
        os.close(fd)
        raise
    return fd


def is_launching(spec: Spawn) -> bool:
    """Whether a launcher, or a message on its way to one, holds the lock."""
    try:
        fd = os.open(_path(spec), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _path(spec: Spawn) -> str:
    return f"{spec.run_dir}/supervise"
