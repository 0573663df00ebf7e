"""A proc that nobody has prepared for us: where the runtime writes on the container's behalf (CVE-2025-52881).

What the container's mount namespace has at /proc is not to be believed: a neighbour with a share in a volume may have
raced a mount over one of its files, and a write to `sys/kernel/…` or `attr/exec` then goes to a file of its choice. So
writes go through an instance that is attached nowhere, and no mount point is crossed on the way in it.
"""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls.files import PROC_SUPER_MAGIC, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, is_type, openat2
from groundplane.kernel.calls.mount import fsmount
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps.base import StepError

_ROOT_INODE = 1  # of every proc instance, linux/proc_ns.h


def own_proc() -> int:
    """A descriptor of a proc instance of this PID namespace. Raises KernelError, StepError.

    A user namespace may make a new one only where all of an old one is in sight (mount_too_revealing in the kernel's
    fs/namespace.c). Beside the init of a masked container it is not: then the /proc that is there serves, proved to be
    the root of a proc instance.
    """
    try:
        return fsmount("proc", "proc")
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
    try:
        fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, "/proc") from error
    if not is_type(fd, PROC_SUPER_MAGIC) or os.fstat(fd).st_ino != _ROOT_INODE:
        os.close(fd)
        raise StepError("/proc of the container is not a proc file system")
    return fd


def write(proc: int, path: str, text: str) -> None:
    """Write a file below `proc`, which must be there itself: no link and no mount on the way. Raises KernelError."""
    fd = openat2(proc, path, os.O_WRONLY, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise KernelError.of("write", error, f"/proc/{path}") from error
    finally:
        os.close(fd)
