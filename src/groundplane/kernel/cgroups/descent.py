"""Groups below a group, however deep they lie.

Whoever was given a group (delegation, cgroups(7)) may nest groups in it deeper than the 4,096 bytes of a path or a
recursion can reach, and must not escape being listed, killed and removed by that. So this walks with a descriptor of
one directory at a time, by names relative to it and back by `..`, which the kernel keeps true because groups cannot
be moved to another parent.
"""

from __future__ import annotations

import errno
import os

from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def pids_below(path: str) -> list[int]:
    """The processes of the group at `path` and all below it; what vanishes meanwhile is passed over."""
    pids: list[int] = []
    _walk(path, lambda fd: pids.extend(_procs(fd)), lambda fd, name: None)
    return pids


def clear(path: str, remove: Callable[[Callable[[], None]], None]) -> None:
    """Remove all groups below `path`, deepest first, each by `remove`, which may call what it is given repeatedly."""

    def leave(fd: int, name: str) -> None:
        def rmdir() -> None:
            try:
                os.rmdir(name, dir_fd=fd)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise KernelError.of("rmdir", error, f"{path}/…/{name}") from error

        remove(rmdir)

    _walk(path, lambda fd: None, leave)


def _walk(path: str, enter: Callable[[int], None], leave: Callable[[int, str], None]) -> None:
    """Visit `path` and all below: `enter` each directory, `leave` each (but `path`) by its name in its parent."""
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError.of("open", error, path) from error
    trail: list[str] = []
    try:
        enter(fd)
        pending = [_names(fd)]
        while pending:
            if pending[-1]:
                name = pending[-1].pop()
                if (child := _open(name, fd)) < 0:
                    continue
                os.close(fd)
                fd = child
                enter(fd)
                trail.append(name)
                pending.append(_names(fd))
                continue
            pending.pop()
            if trail:
                if (parent := _open("..", fd)) < 0:
                    return  # somebody else removes these groups
                os.close(fd)
                fd = parent
                leave(fd, trail.pop())
    finally:
        os.close(fd)


def _open(name: str, fd: int) -> int:
    """A descriptor of a directory; -1 where it is gone."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return -1
        raise KernelError.of("open", error, name) from error


def _names(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return []
        raise KernelError.of("readdir", error, f"descriptor {fd}") from error


def _procs(fd: int) -> list[int]:
    try:
        file = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KernelError.of("open", error, "cgroup.procs") from error
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
    except OSError as error:
        # EOPNOTSUPP: a threaded group, whose processes its domain lists (cgroup-v2.rst, "Threads"); ENODEV: removed.
        if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
            return []
        raise KernelError.of("read", error, "cgroup.procs") from error
    finally:
        os.close(file)
    return [int(line) for line in b"".join(parts).split()]
