"""How many descriptors the processes of an instance may have open (getrlimit(2), RLIMIT_NOFILE).

The spawner holds up to five for each container, and the daemon two, so the usual soft limit of 1024 would end them at
some two hundred containers: both get all that the hard limit allows. Containers do not, because programs that walk
through their limit expect the usual one: the soft limit of the first spawner goes on to containers and execs, and, in
GROUND_NOFILE, to spawners that a daemon starts.
"""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls.rlimits import get_rlimit, prlimit
from groundplane.kernel.errors import KernelError

_RESOURCE = "RLIMIT_NOFILE"


def raise_limit() -> int:
    """Take all that is allowed; the soft limit for containers."""
    soft, hard = get_rlimit(0, _RESOURCE)
    given = os.environ.get("GROUND_NOFILE", "")
    former = min(int(given), hard) if given.isascii() and given.isdigit() else soft
    os.environ["GROUND_NOFILE"] = str(former)
    _set(hard, hard)
    return former


def restore_limit(soft: int) -> None:
    """In a process that starts containers or execs, and in those after it."""
    _set(soft, get_rlimit(0, _RESOURCE)[1])


def _set(soft: int, hard: int) -> None:
    try:
        prlimit(0, _RESOURCE, soft, hard)
    except KernelError as error:
        if error.errno != errno.EPERM:  # a hard limit above fs.nr_open can be kept, but not set (kernel/sys.c)
            raise
