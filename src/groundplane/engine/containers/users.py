"""Who a container's process is: an image's `User` and docker's `--user`, looked up in the container's own files.

`/etc/passwd` and `/etc/group` belong to whoever made the image, so they are opened inside the root (openat2 with
RESOLVE_IN_ROOT: a link to the host's file leads to the container's), read up to a limit, and never believed beyond
numbers and names. Rules are moby/sys/user's GetExecUser.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from groundplane.engine.contract import EngineError
from groundplane.kernel.calls.files import open_in_root
from groundplane.kernel.errors import KernelError

_LIMIT = 4 << 20  # bytes of a passwd or group file that are read
_MAX_ID = 2**31 - 1


class NoSuchUser(EngineError):
    """The image has no such user or group."""


@dataclass(frozen=True, slots=True)
class Who:
    """A resolved user: numbers, supplementary groups (the primary one first, as docker), and where it lives."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(root: str, user: str, further_groups: Sequence[int] = ()) -> Who:
    """`uid`, `uid:gid`, `name`, `name:group`, or empty for root, in the file system at `root`. Raises NoSuchUser."""
    name, _, group = user.partition(":")
    uid, gid, home, login = _find_user(root, name)
    groups: list[int] = []
    if group:
        gid = _find_group(root, group)
    elif login:
        groups = [int(fields[2]) for fields in _lines(root, "etc/group", 4) if login in fields[3].split(",")]
    unique = dict.fromkeys([gid, *groups, *further_groups])  # the primary one too (CVE-2022-36109), each once
    return Who(uid, gid, tuple(unique), home)


def _find_user(root: str, name: str) -> tuple[int, int, str, str]:
    """(uid, gid, home, login name). A number that no line has is a user all the same, of group 0."""
    number = _number(name or "0")
    for fields in _lines(root, "etc/passwd", 7):
        if (int(fields[2]) == number) if number is not None else (fields[0] == name):
            return int(fields[2]), int(fields[3]) if _is_id(fields[3]) else 0, fields[5] or "/", fields[0]
    if number is None:
        raise NoSuchUser(f"unable to find user {name}: no matching entries in passwd file")
    return number, 0, "/root" if number == 0 and not name else "/", ""


def _find_group(root: str, group: str) -> int:
    number = _number(group)
    if number is not None:
        return number
    for fields in _lines(root, "etc/group", 4):
        if fields[0] == group:
            return int(fields[2])
    raise NoSuchUser(f"unable to find group {group}: no matching entries in group file")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdigit():
        return None
    if (number := int(text)) > _MAX_ID:
        raise NoSuchUser(f"uids and gids must be in range 0-{_MAX_ID}")
    return number


def _lines(root: str, path: str, count: int) -> Iterator[list[str]]:
    """The well-formed lines of a passwd or group file (passwd(5), group(5)), split; none where there is no file."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # O_PATH, because a container may have put a device or a FIFO there, and opening is an act: a watchdog starts.
        place = open_in_root(directory, path, os.O_PATH)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        text = os.read(fd, _LIMIT).decode(errors="replace")
    finally:
        os.close(fd)
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= count - 1 and not line.startswith("#") and _is_id(fields[2]):
            yield fields + [""] * (count - len(fields))
