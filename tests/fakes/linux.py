"""A Linux for those who are not root: mounts, namespaces, identity and capabilities as a model, files as real ones.

What needs no right is the real thing: directories, links and files in a temporary directory. What needs one is
modelled: every mount has a directory that holds its files, and a table says what lies over what; a path is walked name
by name, through the table. `installed()` puts the model's calls in the place of the kernel dictionary's, wherever a
module has taken them by name, for the length of a `with`. The model passes the contract suite that the kernel passes
(`tests/contracts/linux_suite.py`), which says how far it can be trusted; what is not in the suite, it does not know.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from groundplane.kernel.calls import files, ids, mount, network, process
from groundplane.kernel.calls import mount as m
from groundplane.kernel.errors import KernelError

_FIXED = m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
_FILES = {
    "proc": ("sys/kernel/domainname", "sys/kernel/shmmni", "sys/net/ipv4/ip_forward", "keys", "timer_list", "bus/x"),
    "devpts": ("ptmx",),
    "sysfs": ("firmware/x", "fs/cgroup/x"),
}
_LABELS = ("exec", "keycreate", "apparmor/exec")
_MAGIC = {"proc": files.PROC_SUPER_MAGIC, "devpts": files.DEVPTS_SUPER_MAGIC}


class Mount:
    """A mount: where its files are, what lies on it, and its attributes."""

    def __init__(self, fstype: str, source: str, directory: str, attributes: int = 0) -> None:
        self.fstype = fstype
        self.source = source
        self.directory = directory
        self.attributes = attributes
        self.propagation = m.MS_PRIVATE
        self.options: list[str] = []  # of its instance
        self.children: list[tuple[str, Mount]] = []  # (the real path it covers, mount), oldest first

    def copy(self, *, recursive: bool) -> Mount:
        one = Mount(self.fstype, self.source, self.directory, self.attributes)
        one.children = [(place, child.copy(recursive=True)) for place, child in self.children] if recursive else []
        return one

    def everything(self) -> Iterator[Mount]:
        yield self
        for _, child in self.children:
            yield from child.everything()


class FakeLinux:
    """The model's state, and its calls by the names that the kernel dictionary has."""

    def __init__(self) -> None:
        self._own = tempfile.mkdtemp(prefix="ground-test-")
        self.host = Mount("ext4", "/dev/root", "/")
        self.root = self.host
        self.devices: dict[str, tuple[int, int, int]] = {}  # real path: (mode, major, minor)
        self.unshared = 0
        self.names = {"hostname": "host", "domainname": "(none)"}
        self.ids = {"uid": 0, "gid": 0}
        self.groups: list[int] = [0]
        self.sets = {"bounding": (1 << 41) - 1, "effective": 0, "permitted": 0, "inheritable": 0, "ambient": 0}
        self.flags: set[str] = set()
        self.loopback = False
        self._detached: dict[int, Mount] = {}
        self._procs: list[str] = []  # the directories of all instances, in their order

    # Walking.

    def _real(self, fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")

    def _over(self, path: str) -> str:
        """Where the files of what is mounted on a real path are."""
        while True:
            above = [child for one in self.host.everything() for place, child in one.children if place == path]
            if not above:
                return path
            path = above[-1].directory

    def _walk(self, root: str, start: str, path: str, *, follow: bool, depth: int = 0) -> str:
        """The real path of `path`; `..` and links stay below `root`."""
        if depth > 40:
            raise KernelError("openat2", errno.ELOOP, path)
        here = [root] if path.startswith("/") else [root, start] if start != root else [root]
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for index, part in enumerate(parts):
            if part == "..":
                here = here[:-1] or [root]
                continue
            at = self._over(here[-1]) + "/" + part
            if os.path.islink(at) and (follow or index < len(parts) - 1):
                rest = "/".join([os.readlink(at), *parts[index + 1 :]])
                return self._walk(root, here[-1], rest, follow=follow, depth=depth + 1)
            if not os.path.lexists(at):
                raise KernelError("openat2", errno.ENOENT, path)
            here.append(at)
        return self._over(here[-1])

    def openat2(self, fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
        base = self._over(self._real(fd))
        follow = not (flags & os.O_NOFOLLOW or resolve & files.RESOLVE_NO_SYMLINKS)
        if flags & os.O_CREAT:
            return os.open(f"{base}/{path}", flags | os.O_CLOEXEC, mode)
        where = self._walk(base, base, path, follow=follow)
        if where in self.devices:  # the host's own null stands for every device, which only its owner could make
            where = "/dev/null"
        try:
            found = os.open(where, flags | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError("openat2", error.errno or 0, path) from None
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(os.fstat(found).st_mode):
            raise KernelError("openat2", errno.ENOTDIR, path)
        return found

    def is_type(self, fd: int, magic: int) -> bool:
        where = self._real(fd) + "/"
        known = [*self.host.everything(), *(one for top in self._detached.values() for one in top.everything())]
        inside = [one for one in known if one is not self.host and where.startswith(one.directory + "/")]
        return bool(inside) and _MAGIC.get(max(inside, key=lambda one: len(one.directory)).fstype) == magic

    def labels(self) -> list[str]:
        """What was written to files of /proc/PID/attr, each through a proc instance of its own, in their order."""
        found = []
        for instance in self._procs:
            for name in _LABELS:
                with open(f"{instance}/{os.getpid()}/attr/{name}") as file:
                    found += [f"{name}={text}" for text in [file.read()] if text]
        return found

    # Mounts.

    def _keep(self, one: Mount) -> int:
        fd = os.open(one.directory, os.O_PATH | os.O_CLOEXEC)
        self._detached[fd] = one
        return fd

    def _at(self, fd: int, path: str) -> Mount:
        """The mount that a descriptor, or a path, is the root of, or lies in."""
        if not path and (one := self._detached.get(fd)) is not None and one.directory == self._real(fd):
            return one  # by its directory too, because a number that was closed is given out again
        where = self._over(path or self._real(fd))
        found = [one for one in self.host.everything() if f"{where}/".startswith(one.directory.rstrip("/") + "/")]
        return max(found, key=lambda one: len(one.directory), default=self.host)  # a stand-in of `openat2` lies nowhere

    def fsmount(self, fstype: str, source: str = "", options: Any = (), attributes: int = 0) -> int:
        if fstype == "nofs":
            raise KernelError("fsopen", errno.ENODEV, fstype)
        for option in options:
            if option.startswith("size=") and not option[5:].rstrip("kmg").isdecimal():
                raise KernelError("mount", errno.EINVAL, f"{fstype} option {option}")
        directory = tempfile.mkdtemp(prefix=f"{fstype}-", dir=self._own)
        own = [f"{os.getpid()}/attr/{name}" for name in _LABELS] if fstype == "proc" else []
        for name in (*_FILES.get(fstype, ()), *own):
            os.makedirs(os.path.dirname(f"{directory}/{name}"), exist_ok=True)
            open(f"{directory}/{name}", "w").close()
        self._procs += [directory] if fstype == "proc" else []
        one = Mount(fstype, source, directory, attributes)
        one.options = list(options)
        return self._keep(one)

    def open_tree(self, fd: int, path: str, *, recursive: bool, what: str = "") -> int:
        origin = self._at(fd, path)
        if origin.propagation == m.MS_UNBINDABLE:
            raise KernelError("open_tree", errno.EINVAL, what or path)
        where = self._over(path or self._real(fd))
        if not os.path.lexists(where):
            raise KernelError("open_tree", errno.ENOENT, what or path)
        one = Mount(origin.fstype, origin.source, where, origin.attributes)
        if recursive:
            below = where.rstrip("/") + "/"
            one.children = [(p, c.copy(recursive=True)) for p, c in origin.children if f"{p}/".startswith(below)]
        return self._keep(one)

    def attach(self, mount_fd: int, fd: int, path: str = "", what: str = "") -> None:
        one = self._detached.get(mount_fd)
        if one is None:
            raise KernelError("move_mount", errno.EINVAL, what)
        place = self._over(path or self._real(fd))
        over = os.path.isdir(place)
        if over != os.path.isdir(one.directory):
            raise KernelError("move_mount", errno.EINVAL, what)
        # Over itself, as a root is: its files are where they were, so there is nothing to be led to.
        self._at(fd, path).children.append((f"{place}/." if place == one.directory else place, one))

    def mount_setattr(self, fd: int, path: str = "", **change: Any) -> None:
        top = self._at(fd, path)
        for one in top.everything() if change.get("recursive") else [top]:
            one.attributes = one.attributes & ~change.get("clear", 0) | change.get("set", 0)
            one.propagation = change.get("propagation") or one.propagation

    def pivot_root(self, new_root: str, put_old: str) -> None:
        self.root = self._at(-1, os.getcwd() if new_root == "." else new_root)

    def umount2(self, target: str, flags: int = 0) -> None:
        if target == "." and self.root is not self.host:
            self.host = self.root  # the old root goes with all that was on it

    def mknodat(self, fd: int, name: str, mode: int, major: int = 0, minor: int = 0) -> None:
        path = f"{self._over(self._real(fd))}/{name}"
        if os.path.lexists(path):
            raise KernelError("mknodat", errno.EEXIST, name)
        open(path, "w").close()
        self.devices[path] = (mode, major, minor)

    def mounted(self) -> dict[str, Mount]:
        """What is mounted, by the last name of its place."""
        return {
            place.removesuffix("/.").rpartition("/")[2]: child
            for one in self.host.everything()
            for place, child in one.children
        }

    # Namespaces and identity.

    def unshare(self, flags: int) -> None:
        self.unshared |= flags

    def setns(self, fd: int, flags: int, what: str = "") -> None:
        """As far as it matters here: which kinds of namespaces were entered through an open descriptor."""
        os.fstat(fd)
        self.flags.add(f"setns {flags:#x}")

    def sethostname(self, name: str) -> None:
        if len(name) > 64:
            raise KernelError("sethostname", errno.EINVAL, name)
        self.names["hostname"] = name

    def setdomainname(self, name: str) -> None:
        self.names["domainname"] = name

    def setresuid(self, uid: int) -> None:
        if self.ids["uid"] and uid != self.ids["uid"]:
            raise KernelError("setresuid", errno.EPERM, f"uid {uid}")
        if uid and not self.ids["uid"]:
            self.sets["effective"] = self.sets["ambient"] = 0
            if "keepcaps" not in self.flags:
                self.sets["permitted"] = 0
        self.ids["uid"] = uid

    def setresgid(self, gid: int) -> None:
        self.ids["gid"] = gid

    def setgroups(self, gids: list[int]) -> None:
        self.groups = list(gids)

    def drop_bounding(self, capability: int) -> None:
        self.sets["bounding"] &= ~(1 << capability)

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        if effective & ~permitted:
            raise KernelError("capset", errno.EPERM)
        self.sets |= {"effective": effective, "permitted": permitted, "inheritable": inheritable}

    def clear_ambient(self) -> None:
        self.sets["ambient"] = 0

    def raise_ambient(self, capability: int) -> None:
        bit = 1 << capability
        if not self.sets["permitted"] & self.sets["inheritable"] & bit:
            raise KernelError("prctl", errno.EPERM, f"PR_CAP_AMBIENT_RAISE {capability}")
        self.sets["ambient"] |= bit

    def set_keep_caps(self, keep: int) -> None:
        (self.flags.add if keep else self.flags.discard)("keepcaps")

    def set_no_new_privs(self) -> None:
        self.flags.add("no_new_privs")

    def join_session_keyring(self, name: str) -> None:
        self.flags.add(f"keyring {name}")

    def loopback_up(self) -> None:
        self.loopback = True


_FAMILIES = {
    mount: ("fsmount", "open_tree", "attach", "mount_setattr", "pivot_root", "umount2"),
    files: ("openat2", "is_type", "mknodat"),
    ids: ("sethostname", "setdomainname", "setresuid", "setresgid", "setgroups"),
    network: ("loopback_up",),
    process: (
        *("unshare", "setns", "drop_bounding", "clear_ambient", "raise_ambient", "set_keep_caps", "set_no_new_privs"),
        "join_session_keyring",
    ),
}


@contextmanager
def installed() -> Iterator[FakeLinux]:
    """A model in the place of the kernel's calls, in every module of the product that has them by name."""
    from groundplane.kernel import caps

    fake = FakeLinux()
    changed: list[tuple[Any, str, Any]] = []
    wanted = [(getattr(module, name), getattr(fake, name)) for module, names in _FAMILIES.items() for name in names]
    wanted.append((caps.capset, fake.capset))
    for module in [one for name, one in sys.modules.items() if name.startswith("groundplane.") and one]:
        for name, value in list(vars(module).items()):
            for real, model in wanted:
                if value is real:
                    changed.append((module, name, real))
                    setattr(module, name, model)
    try:
        yield fake
    finally:
        for module, name, real in changed:
            setattr(module, name, real)
        import shutil

        shutil.rmtree(fake._own, ignore_errors=True)
