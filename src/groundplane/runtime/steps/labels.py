"""Labels of security modules: AppArmor's profiles and SELinux's contexts, written where the kernel takes them.

    attr/apparmor/exec   the profile that the next execve(2) changes to, as `exec NAME` (Linux ≥ 5.8)
    attr/exec            the context of the next execve(2) (selinux(8))
    attr/keycreate       the context of keys made from now on, for the session keyring
    security.selinux     the context of a file, for an mqueue, which takes no `context=` when it is mounted

The first three are the calling thread's own files in a proc that nobody else has touched; see `procfs.py`. A tmpfs
and other new file systems get theirs when they are mounted (`mounts.py`, `context=`).
"""

from __future__ import annotations

import os

from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps import procfs
from groundplane.runtime.steps.base import Inside, Step

NONE = "\n"  # what takes a label back (security/selinux/hooks.c, selinux_lsm_setattr: nothing, or a line end)


class SetLabel(Step):
    """Write a label of this process into a file of /proc/PID/attr."""

    __slots__ = ("file", "text")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    def describe(self) -> str:
        return f"setting the security label {self.file}={self.text.strip()}"

    def apply(self, at: Inside) -> None:
        proc = procfs.own_proc()
        try:
            procfs.write(proc, f"{os.getpid()}/attr/{self.file}", self.text)
        finally:
            os.close(proc)


class LabelFile(Step):
    """Give a file of the container, here the root of a mount, its SELinux context."""

    __slots__ = ("label", "path")

    def __init__(self, path: str, label: str) -> None:
        self.path = path
        self.label = label

    def describe(self) -> str:
        return f"labelling {self.path}"

    def apply(self, at: Inside) -> None:
        place = at.open(self.path, os.O_RDONLY)
        try:
            os.setxattr(place, "security.selinux", self.label.encode() + b"\0")
        except OSError as error:
            raise KernelError.of("fsetxattr", error, self.path) from error
        finally:
            os.close(place)
