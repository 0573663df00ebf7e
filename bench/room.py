"""Peers' work in a mount namespace of its own, so that the host keeps nothing of what they write where they should not.

podman makes directories beside the version 1 hierarchies, and crun 1.8 refuses hosts that have version 2 beside them.
Threads stand in the namespace, and whatever they start is there too (unshare(2), setns(2)): a peer pays for its own run
only, and what was made there goes with the last of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from groundplane.kernel.calls import mount
from groundplane.kernel.calls import process as p

Work = Callable[[], None]
GROUPS = "/sys/fs/cgroup"
UNIFIED = f"{GROUPS}/unified"  # systemd's place for version 2 beside version 1, and the one that crun looks at
_CLONE_FS = 0x200  # unshare(2): a thread that shares its working directory with others can enter no mount namespace


@contextmanager
def room(prepare: Work, at_once: int = 1) -> Iterator[Callable[[Work], Work]]:
    """A function that makes of a work one that is done in there, by up to `at_once` threads; `prepare` lays it out."""
    made: list[int] = []
    turn = threading.Lock()

    def enter() -> None:
        with turn:
            if made:
                p.unshare(_CLONE_FS)
                p.setns(made[0], p.CLONE_NEWNS, "the room")
                return
            p.unshare(p.CLONE_NEWNS)
            mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
            prepare()
            made.append(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))

    with ThreadPoolExecutor(at_once, initializer=enter) as pool:
        yield lambda work: lambda: pool.submit(work).result()
    for fd in made:
        os.close(fd)


def hide_version_2() -> None:
    if os.path.ismount(GROUPS) and os.path.ismount(UNIFIED):
        mount.umount2(UNIFIED, mount.MNT_DETACH)


def groups_of_its_own() -> None:
    """A tmpfs of its own where the host has one for the hierarchies of version 1, with the same mounts on it."""
    if not os.path.isdir(f"{GROUPS}/memory"):
        return
    held = [(name, mount.open_tree(mount.AT_FDCWD, f"{GROUPS}/{name}", recursive=False)) for name in _hierarchies()]
    links = [
        (name, os.readlink(f"{GROUPS}/{name}")) for name in os.listdir(GROUPS) if os.path.islink(f"{GROUPS}/{name}")
    ]
    mount.mount("tmpfs", GROUPS, "tmpfs", 0, "mode=755")
    for name, target in links:
        os.symlink(target, f"{GROUPS}/{name}")
    for name, fd in held:
        os.mkdir(f"{GROUPS}/{name}", 0o755)
        mount.attach(fd, mount.AT_FDCWD, f"{GROUPS}/{name}")
        os.close(fd)


def _hierarchies() -> list[str]:
    return [name for name in os.listdir(GROUPS) if os.path.ismount(f"{GROUPS}/{name}")]
