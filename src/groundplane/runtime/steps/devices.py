"""The nodes and links of /dev: runtime-spec 1.2, config-linux.md (default devices), runtime-linux.md (links)."""

from __future__ import annotations

import os
import stat

from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.files import make_directories, make_file, mknodat
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps.base import Inside, Step, StepError
from groundplane.runtime.steps.mounts import open_outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Node:
    """A device node: `kind` is `c`, `b` or `p`."""

    __slots__ = ("gid", "kind", "major", "minor", "mode", "path", "uid")

    def __init__(self, path: str, kind: str, major: int, minor: int, mode: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.kind = kind
        self.major = major
        self.minor = minor
        self.mode = mode
        self.uid = uid
        self.gid = gid


DEFAULT_NODES = (
    Node("/dev/null", "c", 1, 3, 0o666),
    Node("/dev/zero", "c", 1, 5, 0o666),
    Node("/dev/full", "c", 1, 7, 0o666),
    Node("/dev/random", "c", 1, 8, 0o666),
    Node("/dev/urandom", "c", 1, 9, 0o666),
    Node("/dev/tty", "c", 5, 0, 0o666),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class MakeDevices(Step):
    """Make the nodes; in a user namespace, where mknod(2) is refused, bind the host's."""

    __slots__ = ("bind", "nodes")

    def __init__(self, nodes: Sequence[Node], *, bind: bool) -> None:
        self.nodes = nodes
        self.bind = bind

    def describe(self) -> str:
        return "creating device nodes"

    def apply(self, at: Inside) -> None:
        old = os.umask(0)
        directories: dict[str, int] = {}
        try:
            for node in self.nodes:
                if self.bind and node.kind != "p":
                    self._bind(at, node)
                    continue
                parent, _, name = node.path.rpartition("/")
                if parent not in directories:
                    directories[parent] = make_directories(at.root, parent or "/")
                self._make(directories[parent], name, node)
        finally:
            os.umask(old)
            for fd in directories.values():
                os.close(fd)

    def _make(self, directory: int, name: str, node: Node) -> None:
        kind = _TYPES[node.kind]
        try:
            mknodat(directory, name, kind | node.mode, node.major, node.minor)
        except KernelError as error:
            there = _stat(directory, name)
            if there is None:
                raise KernelError("mknod", error.errno, node.path) from None
            if not _is_device(there, node):
                raise StepError(f"{node.path}: exists in the image and is not the device asked for") from None
            return
        if node.uid or node.gid:
            os.chown(name, node.uid, node.gid, dir_fd=directory, follow_symlinks=False)

    def _bind(self, at: Inside, node: Node) -> None:
        source = open_outside(at, node.path)
        try:
            if not _is_device(os.fstat(source), node):
                raise StepError(f"{node.path}: the host has no such device there to bind")
            mount_fd = m.open_tree(source, "", recursive=False, what=node.path)
        finally:
            os.close(source)
        place = make_file(at.root, node.path)
        m.attach(mount_fd, place, what=node.path)
        os.close(place)
        os.close(mount_fd)


def _is_device(there: os.stat_result, node: Node) -> bool:
    if stat.S_IFMT(there.st_mode) != _TYPES[node.kind]:
        return False
    return node.kind == "p" or there.st_rdev == os.makedev(node.major, node.minor)


def _stat(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


class LinkDevices(Step):
    """The symbolic links that every container has in /dev, where its mounts have not put something else there."""

    __slots__ = ()

    def describe(self) -> str:
        return "linking /dev/fd, /dev/stdin, /dev/stdout, /dev/stderr and /dev/ptmx"

    def apply(self, at: Inside) -> None:
        directory = make_directories(at.root, "/dev")
        links = [
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/0", "stdin"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
        ]
        if os.path.exists("/proc/kcore"):
            links.append(("/proc/kcore", "core"))
        try:
            for target, name in links:
                _link(directory, target, name)
            if not _link(directory, "pts/ptmx", "ptmx"):
                # One of the image could be the host's; it must be that of the container's own devpts.
                os.unlink("ptmx", dir_fd=directory)
                os.symlink("pts/ptmx", "ptmx", dir_fd=directory)
        except OSError as error:
            raise KernelError.of("symlink", error, "/dev") from error
        finally:
            os.close(directory)


def _link(directory: int, target: str, name: str) -> bool:
    """Make a symbolic link; False where there is something of that name."""
    try:
        os.symlink(target, name, dir_fd=directory)
    except FileExistsError:
        return False
    return True
