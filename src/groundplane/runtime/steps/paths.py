"""Masked and read-only paths: parts of /proc and /sys that a container must not see or change."""

from __future__ import annotations

import errno
import os
import stat

from groundplane.kernel.calls import mount as m
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps.base import Inside, Step, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def _present(at: Inside, paths: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The paths that there are, each with a descriptor that is open for the moment."""
    for path in paths:
        try:
            place = at.open(path)
        except KernelError as error:
            if error.errno not in _ABSENT:
                raise
            continue
        yield path, place
        os.close(place)


class MaskPaths(Step):
    """Hide files behind /dev/null and directories behind an empty read-only tmpfs."""

    __slots__ = ("paths",)

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def describe(self) -> str:
        return "masking paths"

    def apply(self, at: Inside) -> None:
        null = _open_null(at)
        empty = -1
        try:
            for path, place in _present(at, self.paths):
                if not stat.S_ISDIR(os.fstat(place).st_mode):
                    cover = m.open_tree(null, "", recursive=False, what="/dev/null")
                elif empty < 0:
                    cover = empty = m.fsmount("tmpfs", "tmpfs", ("ro",), m.MOUNT_ATTR_RDONLY)
                else:
                    cover = m.open_tree(empty, "", recursive=False, what=path)  # the same empty instance again
                m.attach(cover, place, what=path)
                if cover != empty:
                    os.close(cover)
        finally:
            os.close(null)
            if empty >= 0:
                os.close(empty)


def _open_null(at: Inside) -> int:
    """The container's /dev/null, proved to be the device: an image or a racing process may have put a link there.

    (CVE-2025-31133: the mask would then have been a window.)
    """
    fd = at.open("/dev/null", os.O_PATH | os.O_NOFOLLOW)
    info = os.fstat(fd)
    if not stat.S_ISCHR(info.st_mode) or info.st_rdev != os.makedev(1, 3):
        os.close(fd)
        raise StepError("/dev/null of the container is not the null device: its paths cannot be masked")
    return fd


class ReadOnlyPaths(Step):
    """Bind each path over itself, read-only."""

    __slots__ = ("paths",)

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def describe(self) -> str:
        return "making paths read-only"

    def apply(self, at: Inside) -> None:
        for path, place in _present(at, self.paths):
            copy = m.open_tree(place, "", recursive=True, what=path)
            m.mount_setattr(copy, set=m.MOUNT_ATTR_RDONLY, what=path)
            m.attach(copy, place, what=path)
            os.close(copy)
