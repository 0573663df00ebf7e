"""A peer's work in a mount namespace where the version 2 groups of a hybrid host are not mounted.

crun 1.8 refuses hosts that have both versions. The namespace is made once, by a process that then does the work each
time it is asked, so that the peer pays for nothing but its own run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groundplane.kernel.calls import mount
from groundplane.kernel.calls import process as p
from groundplane.kernel.cgroups import registry

UNIFIED = "/sys/fs/cgroup/unified"  # systemd's place for it, and the one that crun looks at


def needed() -> bool:
    return registry.detect().layout == "hybrid" and os.path.ismount(UNIFIED)


@contextmanager
def without_unified(work: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """`work` as something to call here that is done there. It raises OSError where the work failed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            _serve(theirs, ours, work)
        theirs.close()

        def ask() -> None:
            ours.send(b"?")
            if ours.recv(1) != b"0":
                raise OSError("it failed where the version 2 groups are hidden")

        try:
            yield ask
        finally:
            ours.close()
            os.waitpid(pid, 0)


def _serve(theirs: socket.socket, ours: socket.socket, work: Callable[[], None]) -> None:
    try:
        ours.close()
        p.unshare(p.CLONE_NEWNS)
        mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
        mount.umount2(UNIFIED, mount.MNT_DETACH)
        while theirs.recv(1):
            work()
            theirs.send(b"0")
    finally:
        os._exit(0)
