"""Mounts: the classic calls, and the descriptor-based ones (fsopen, open_tree, move_mount, mount_setattr).

Why the second family: it separates making a mount from attaching it. A mount is made detached, gets its attributes
while nobody can reach it, and is attached to a *descriptor* of its place, so that no path is resolved twice: a symbolic
link swapped in between finds nothing to redirect (the root of CVE-2019-19921, CVE-2021-30465, CVE-2025-31133).
"""

from __future__ import annotations

import errno
import os
import struct

from groundplane.kernel.calls.binding import BUFFER, INT, TEXT, bind, path_bytes
from groundplane.kernel.errors import KernelError

# mount(2), linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_DETACH = 2  # umount2(2)
UMOUNT_NOFOLLOW = 8

# mount_setattr(2)
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = 0o2000000
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_FSCONFIG_CMD_RECONFIGURE = 7
_FSPICK_CLOEXEC = 1
_FSPICK_EMPTY_PATH = 8
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_AT_SYMLINK_NOFOLLOW = 0x100

AT_FDCWD = -100

_mount = bind("mount", TEXT, TEXT, TEXT, INT, TEXT)
_umount2 = bind("umount2", TEXT, INT)
_pivot_root = bind("pivot_root", TEXT, TEXT)
_open_tree = bind("open_tree", INT, TEXT, INT)
_move_mount = bind("move_mount", INT, TEXT, INT, TEXT, INT)
_mount_setattr = bind("mount_setattr", INT, TEXT, INT, BUFFER, INT)
_fsopen = bind("fsopen", TEXT, INT)
_fsconfig = bind("fsconfig", INT, INT, TEXT, TEXT, INT)
_fsmount = bind("fsmount", INT, INT, INT)
_fspick = bind("fspick", INT, TEXT, INT)


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Whoever mounts inside a foreign tree uses `fsmount` and `attach` below instead."""
    _mount(target, path_bytes(source), path_bytes(target), path_bytes(fstype), flags, data.encode() or None)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2): MNT_DETACH takes it from sight at once and away when its last user has gone."""
    _umount2(target, path_bytes(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Swap this mount namespace's root. pivot_root(2); `(".", ".")` stacks the old root on the new one."""
    _pivot_root(new_root, path_bytes(new_root), path_bytes(put_old))


def open_tree(fd: int, path: str, *, recursive: bool, what: str = "") -> int:
    """A detached copy of the mount at `path` (relative to `fd`; empty: `fd` itself), with submounts if `recursive`.

    open_tree(2) with OPEN_TREE_CLONE, Linux ≥ 5.2: a bind mount that is not attached anywhere yet. A final symbolic
    link of `path` is followed.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _open_tree(what or path, fd, path_bytes(path), flags | (0 if path else _AT_EMPTY_PATH))


def attach(mount_fd: int, fd: int, path: str = "", what: str = "") -> None:
    """Attach a detached mount at `path` relative to `fd` (empty: at `fd` itself). move_mount(2), Linux ≥ 5.2."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if path else _MOVE_MOUNT_T_EMPTY_PATH)
    _move_mount(what or path or f"descriptor {fd}", mount_fd, b"", fd, path_bytes(path), flags)


def mount_setattr(
    fd: int,
    path: str = "",
    *,
    set: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
    what: str = "",
) -> None:
    """Change a mount's attributes (MOUNT_ATTR_*) and propagation (MS_PRIVATE …). mount_setattr(2), Linux ≥ 5.12."""
    attributes = struct.pack("=4Q", set, clear, propagation, userns_fd)
    flags = (0 if path else _AT_EMPTY_PATH) | (_AT_RECURSIVE if recursive else 0)
    _mount_setattr(what or path or f"descriptor {fd}", fd, path_bytes(path), flags, attributes, len(attributes))


def fsmount(fstype: str, source: str = "", options: list[str] | tuple[str, ...] = (), attributes: int = 0) -> int:
    """A detached new file system: fsopen(2), fsconfig(2) for each option, fsmount(2); Linux ≥ 5.2.

    `options` are `key=value` or a bare `key`; `attributes` MOUNT_ATTR_* of the mount. A refusal quotes the file
    system's own words, which the kernel keeps readable on the context's descriptor.
    """
    context = _fsopen(fstype, path_bytes(fstype), _FSOPEN_CLOEXEC)
    try:
        if source:
            _configure(context, fstype, "source", source)
        for option in options:
            key, equals, value = option.partition("=")
            _configure(context, fstype, key, value if equals else None)
        try:
            _fsconfig(fstype, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        except KernelError as error:
            raise KernelError("mount", error.errno, fstype, _words(context)) from None
        return _fsmount(fstype, context, _FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)


def reconfigure(fd: int, options: list[str] | tuple[str, ...], what: str = "") -> None:
    """Change the options of the file system instance whose mount `fd` is: fspick(2), fsconfig(2); Linux ≥ 5.2."""
    context = _fspick(what or f"descriptor {fd}", fd, b"", _FSPICK_CLOEXEC | _FSPICK_EMPTY_PATH)
    try:
        for option in options:
            key, equals, value = option.partition("=")
            _configure(context, what, key, value if equals else None)
        try:
            _fsconfig(what, context, _FSCONFIG_CMD_RECONFIGURE, None, None, 0)
        except KernelError as error:
            raise KernelError("remount", error.errno, what, _words(context)) from None
    finally:
        os.close(context)


def _configure(context: int, fstype: str, key: str, value: str | None) -> None:
    command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
    try:
        _fsconfig(fstype, context, command, path_bytes(key), None if value is None else path_bytes(value), 0)
    except KernelError as error:
        what = f"{fstype} option {key}" + ("" if value is None else f"={value}")
        raise KernelError("mount", error.errno, what, _words(context)) from None


def _words(context: int) -> str:
    """What the file system wrote into its context's log: lines such as `e tmpfs: Bad value for 'size'`."""
    lines = []
    for _ in range(8):  # the kernel keeps the last eight
        try:
            lines.append(os.read(context, 1024).decode(errors="replace").strip()[2:])
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            break
    return "; ".join(lines)


def statmount_flags(path: str) -> int:
    """The flags (ST_RDONLY, ST_NOSUID …, see statvfs(3)) of the mount that `path` lies on. Raises KernelError."""
    try:
        return os.statvfs(path).f_flag
    except OSError as error:
        raise KernelError.of("statfs", error, path) from error


def points_below(base: str, table: str = "/proc/self/mountinfo") -> list[str]:
    """Mount points of this process at or below an absolute path without symbolic links, outer before inner.

    proc_pid_mountinfo(5): names may hold any byte; blanks, backslashes and `#` are written as octal numbers.
    """
    with open(table, "rb") as file:
        fields = [line.split(b" ", 5)[4] for line in file]
    for number, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\043", b"#"), (b"\\134", b"\\")):
        fields = [field.replace(number, byte) for field in fields]
    points = [os.fsdecode(field) for field in fields]
    return [point for point in points if point == base or point.startswith(base.rstrip("/") + "/")]
