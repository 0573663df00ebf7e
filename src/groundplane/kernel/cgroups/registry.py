"""Which layout this host has, from /proc/self/mountinfo, and the driver for it."""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls.files import read_text
from groundplane.kernel.cgroups.hybrid import Hybrid
from groundplane.kernel.cgroups.v1 import V1, Hierarchy
from groundplane.kernel.cgroups.v2 import V2
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.contract import Groups

# Options of a v1 mount that are not controllers (cgroups(7); linux/cgroup-v1.c).
_NOT_CONTROLLERS = {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"}


def detect() -> Groups:
    """The driver for this host. Raises KernelError where no cgroup file system is mounted."""
    return choose(read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup"))


def choose(mountinfo: str, born: str) -> Groups:
    """The driver for a host with these mounts, seen by a process born in the groups of `born` (/proc/PID/cgroup)."""
    homes = dict(_homes(born))
    hierarchies: dict[tuple[str, ...], Hierarchy] = {}
    unified: list[tuple[str, str]] = []
    for root, mountpoint, fstype, options in _cgroup_mounts(mountinfo):
        if fstype == "cgroup2":
            unified.append((_base(mountpoint, root, homes.get("", "/")), mountpoint))
            continue
        controllers = tuple(o for o in options.split(",") if o and not _is_option(o))
        if controllers and controllers not in hierarchies:
            home = homes.get(controllers[0], "/")
            hierarchies[controllers] = Hierarchy(controllers, _base(mountpoint, root, home), mountpoint)
    if unified and not any(not c[0].startswith("name=") for c in hierarchies):
        base, mountpoint = unified[0]
        return V2(base, mountpoint=mountpoint)
    if hierarchies and unified:
        base, mountpoint = unified[0]
        return Hybrid(list(hierarchies.values()), base, mountpoint=mountpoint)
    if hierarchies:
        return V1(list(hierarchies.values()))
    hint = "no cgroup file system is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup)"
    raise KernelError("cgroup", errno.ENODEV, "/proc/self/mountinfo", hint)


def _is_option(option: str) -> bool:
    return option in _NOT_CONTROLLERS or option.startswith("release_agent=")


def _cgroup_mounts(mountinfo: str) -> list[tuple[str, str, str, str]]:
    """(root, mount point, type, super options) of each cgroup mount, in order. proc_pid_mountinfo(5)."""
    found = []
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, rest = tail.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            fields = head.split(" ")
            found.append((fields[3], fields[4].replace("\\040", " "), kind, rest.rpartition(" ")[2]))
    return found


def _homes(born: str) -> list[tuple[str, str]]:
    """(controller, path) pairs of /proc/PID/cgroup; the v2 tree's controller is empty."""
    homes = []
    for line in born.splitlines():
        _, controllers, path = line.split(":", 2)
        homes += [(c, path) for c in controllers.split(",")]
    return homes


def _base(mountpoint: str, root: str, home: str) -> str:
    """Where paths start: the hierarchy's root, or the group we were born in where that is not ours to write."""
    if os.access(mountpoint, os.W_OK) or not os.path.exists(mountpoint):
        return mountpoint
    relative = home if root == "/" else home.removeprefix(root)
    return mountpoint + relative.rstrip("/")
