"""The file operations that drivers need, in one place so that a test's tree in memory can stand in for the kernel's."""

from __future__ import annotations

import errno
import os
import time

from groundplane.kernel.calls.files import read_text, write_text
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol
else:
    Protocol = object

# A killed process leaves its group only when it has been torn down, so rmdir(2) answers EBUSY for a while.
_TRIES = 5
_PAUSES = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5, 1.0)


class Tree(Protocol):
    def make(self, path: str) -> bool:
        """Make a directory; False if it was there."""

    def remove(self, path: str) -> None:
        """Remove an empty group; not an error if it is gone. Raises KernelError, EBUSY where a process is in it."""

    def children(self, path: str) -> list[str]:
        """The names of the groups below; empty if it is gone."""

    def clear(self, path: str, remove: Callable[[Callable[[], None]], None]) -> None:
        """Remove the groups below, deepest first, each by calling `remove` with what removes it or raises."""

    def pids(self, path: str) -> list[int]:
        """What `cgroup.procs` of the group and of all below it say; empty if it is gone."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> str: ...

    def write(self, path: str, text: str) -> None: ...

    def give(self, path: str, uid: int) -> None:
        """Change the owner of a directory or file; its group stays."""

    def kill(self, pid: int) -> None:
        """SIGKILL; not an error if it has ended."""

    def pause(self, seconds: float) -> None: ...


class HostTree:
    """The kernel's own."""

    def make(self, path: str) -> bool:
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            return False
        except OSError as error:
            raise KernelError.of("mkdir", error, path) from error
        return True

    def remove(self, path: str) -> None:
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno == errno.ENOENT or not os.path.exists(path):  # a read-only tree says EROFS for any name
                return
            raise KernelError.of("rmdir", error, path) from error

    def children(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KernelError.of("readdir", error, path) from error

    def clear(self, path: str, remove: Callable[[Callable[[], None]], None]) -> None:
        from groundplane.kernel.cgroups import descent  # late: most containers make no groups

        descent.clear(path, remove)

    def pids(self, path: str) -> list[int]:
        from groundplane.kernel.cgroups import descent

        return descent.pids_below(path)

    def exists(self, path: str) -> bool:
        return os.access(path, os.F_OK)  # os.path.exists would make an exception for each that is not

    def read(self, path: str) -> str:
        return read_text(path)

    def write(self, path: str, text: str) -> None:
        write_text(path, text)

    def give(self, path: str, uid: int) -> None:
        try:
            os.chown(path, uid, -1)
        except OSError as error:
            raise KernelError.of("chown", error, path) from error

    def kill(self, pid: int) -> None:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise KernelError.of("kill", error, f"pid {pid}") from error

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def check_path(path: str) -> str:
    """The path as given. Raises KernelError (EINVAL) for one that is not clearly below a hierarchy's root."""
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts) or "\n" in path or "\0" in path:
        raise KernelError("cgroup", errno.EINVAL, repr(path), "a relative path without '.' and '..' is expected")
    return path


def remove_tree(tree: Tree, path: str) -> None:
    """Remove a group and all below it, deepest first; waits for processes that are just ending."""
    if not tree.exists(path):
        return

    def patiently(remove: Callable[[], None]) -> None:
        for pause in (*_PAUSES, None):
            try:
                remove()
                return
            except KernelError as error:
                if error.errno != errno.EBUSY or pause is None:
                    raise
                tree.pause(pause)

    if tree.children(path):
        tree.clear(path, patiently)
    patiently(lambda: tree.remove(path))


def remove_if_empty(tree: Tree, path: str) -> None:
    """Remove a group that nobody uses; leave one that somebody does."""
    try:
        tree.remove(path)
    except KernelError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def make_all(make: Callable[[list[str]], None], tree: Tree) -> None:
    """Make groups, all or none: `make` adds what it has made to its list.

    Tried again where a parent goes between two steps, because another's failed creation takes its own parents back.
    """
    for attempt in range(_TRIES):
        made: list[str] = []
        try:
            make(made)
            return
        except KernelError as error:
            for directory in reversed(made):
                remove_if_empty(tree, directory)
            if error.errno != errno.ENOENT or attempt == _TRIES - 1:
                raise


def processes_below(tree: Tree, path: str) -> list[int]:
    """The pids in a group and all below it; empty if it is gone."""
    return [pid for pid in tree.pids(path) if pid > 0]  # 0: a process of a PID namespace that we cannot see


def flat_keyed(text: str) -> dict[str, int]:
    """`key value` lines (memory.stat, cpu.stat, memory.events), numbers only."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            values[key] = int(value)
    return values
