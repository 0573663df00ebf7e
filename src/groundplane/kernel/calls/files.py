"""Files of a foreign tree: openat2 that cannot leave its root, nodes and directories made relative to descriptors.

The container's root file system is written by whoever made the image, so every path in it is hostile: symbolic links to
`/etc`, `..`, and magic links into /proc. RESOLVE_IN_ROOT makes the kernel treat the given descriptor as `/` for the
whole resolution, atomically (openat2(2), Linux ≥ 5.6); no check of our own could be free of races.
"""

from __future__ import annotations

import errno
import os
import struct

from groundplane.kernel.calls.binding import BUFFER, INT, TEXT, bind, path_bytes, room
from groundplane.kernel.errors import KernelError

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# linux/magic.h
PROC_SUPER_MAGIC = 0x9FA0
CGROUP2_SUPER_MAGIC = 0x63677270
CGROUP_SUPER_MAGIC = 0x27E0EB
DEVPTS_SUPER_MAGIC = 0x1CD1

O_PATH = os.O_PATH

_openat2 = bind("openat2", INT, TEXT, BUFFER, INT)
_mknodat = bind("mknodat", INT, TEXT, INT, INT)
_fstatfs = bind("fstatfs", INT, BUFFER)
_faccessat2 = bind("faccessat2", INT, TEXT, INT, INT)

_AT_FDCWD = -100
_AT_EACCESS = 0x200


def openat2(fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2), Linux ≥ 5.6; the descriptor is close-on-exec. EAGAIN (a rename raced with `..`) is tried again."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    for attempt in range(128):
        try:
            return _openat2(path, fd, path_bytes(path), how, len(how))
        except KernelError as error:
            if error.errno != errno.EAGAIN or attempt == 127:
                raise
    raise AssertionError("unreachable")


def check_access(path: str, mode: int) -> None:
    """faccessat2(2), Linux ≥ 5.8, for the effective user with its capabilities; `mode` is of os.R_OK, W_OK, X_OK."""
    _faccessat2(path, _AT_FDCWD, path_bytes(path), mode, _AT_EACCESS)


def open_in_root(root: int, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open `path` as a process would whose root directory is `root`; no magic link of /proc is followed."""
    return openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode)


def make_directories(root: int, path: str, mode: int = 0o755, depth: int = 0) -> int:
    """Open the directory `path` in `root`, making what is missing of it (`mkdir -p`). Returns an O_PATH descriptor.

    Where a symbolic link on the way leads to nothing, its target is made, inside `root`, as runc does; `depth` counts
    such links.
    """
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    if depth > 40:  # path_resolution(7): the kernel's own limit
        raise KernelError("mkdir", errno.ELOOP, path)
    names = [name for name in path.split("/") if name not in ("", ".")]
    there, directory = _deepest(root, names)
    try:
        for at in range(there, len(names)):
            if names[at] != "..":  # of a directory that exists: the kernel resolves it inside `root`
                _make_one(root, directory, "/" + "/".join(names[:at]), names[at], mode, depth)
            os.close(directory)
            directory = -1
            directory = open_in_root(root, "/".join(names[: at + 1]), os.O_PATH | os.O_DIRECTORY)
    except BaseException:
        if directory >= 0:
            os.close(directory)
        raise
    return directory


def _deepest(root: int, names: list[str]) -> tuple[int, int]:
    """How many of the names, but the last, lead to a directory that is there, and a descriptor of it."""
    for there in range(len(names) - 1, 0, -1):
        try:
            return there, open_in_root(root, "/".join(names[:there]), os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
    return 0, open_in_root(root, "/", os.O_PATH | os.O_DIRECTORY)


def _make_one(root: int, directory: int, parent: str, name: str, mode: int, depth: int) -> None:
    """Make one directory in `directory`, which is `parent`, or the target of a symbolic link that leads to nothing."""
    try:
        os.mkdir(name, mode, dir_fd=directory)
    except FileExistsError:
        if (target := _dangling(root, directory, f"{parent}/{name}")) is not None:
            absolute = target if target.startswith("/") else f"{parent}/{target}"
            os.close(make_directories(root, absolute, mode, depth + 1))
    except OSError as error:
        raise KernelError.of("mkdir", error, f"{parent.rstrip('/')}/{name}") from error


def _dangling(root: int, parent: int, path: str) -> str | None:
    """The text of the symbolic link `path` where it leads nowhere yet; None where it is fine as it is."""
    try:
        os.close(open_in_root(root, path))
        return None
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        try:
            return os.readlink(path.rsplit("/", 1)[1], dir_fd=parent)
        except OSError:
            raise error from None


def make_file(root: int, path: str, mode: int = 0o644, *, follow: bool = True, depth: int = 0) -> int:
    """Open the file `path` in `root` (O_PATH), making it and its directories if missing: a place to bind a file on.

    A symbolic link that leads to nothing has its target made, inside `root`, as runc does (many an image's
    /etc/resolv.conf); `depth` counts such links. Without `follow` a symbolic link of that name is opened itself.
    """
    try:
        return open_in_root(root, path, os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    directory, _, name = path.rstrip("/").rpartition("/")
    parent = make_directories(root, directory or "/")
    try:
        # O_NOFOLLOW, because open(2) would not make a link's target inside `root`, but below `parent`.
        os.close(openat2(parent, name, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, RESOLVE_IN_ROOT, mode))
        return openat2(parent, name, os.O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    except KernelError as error:
        if error.errno != errno.ELOOP or depth > 40:  # path_resolution(7): the kernel's own limit
            raise
        target = os.readlink(name, dir_fd=parent)
        return make_file(root, target if target.startswith("/") else f"{directory}/{target}", mode, depth=depth + 1)
    finally:
        os.close(parent)


def mknodat(fd: int, name: str, mode: int, major: int = 0, minor: int = 0) -> None:
    """Make a node: `mode` carries its type (S_IFCHR, S_IFBLK, S_IFIFO). mknodat(2); the umask applies."""
    _mknodat(name, fd, path_bytes(name), mode, os.makedev(major, minor))


def is_type(fd: int, magic: int) -> bool:
    """Whether the file behind `fd` lies on the file system of that magic number. fstatfs(2)."""
    return _fstype(fd) == magic


def _fstype(fd: int) -> int:
    buffer = room(256)  # struct statfs is 120 bytes; f_type is its first word
    _fstatfs(f"descriptor {fd}", fd, buffer)
    return int.from_bytes(buffer.raw[:8], "little")


def read_text(path: str) -> str:
    """A small file of /proc, /sys or a cgroup. Raises KernelError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(fd, 65536):
                parts.append(part)
            return b"".join(parts).decode(errors="surrogateescape")
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError.of("read", error, path) from error


def write_text(path: str, text: str) -> None:
    """Write a kernel file in one write(2), as they require; the file must exist. Raises KernelError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError("write", error.errno or 0, path, f"value {text!r}") from error
