"""The one error of this dictionary: a system call that the kernel refused, with the call and the object by name."""

from __future__ import annotations

import errno as _errno
import os

from groundplane.base.errors import GroundError


class KernelError(GroundError):
    """`mount /proc: Operation not permitted (EPERM)`: what was called, on what, and what the kernel answered.

    `errno` is the kernel's number, `call` the system call's name, `object` what it was called on (may be empty), and
    `hint` what the kernel or we can say beyond the number (a file system's own log line, a missing feature).
    """

    def __init__(self, call: str, errno: int, object: str = "", hint: str = "") -> None:
        name = _errno.errorcode.get(errno, str(errno))
        text = f"{call} {object}".rstrip() + f": {os.strerror(errno)} ({name})"
        super().__init__(f"{text}: {hint}" if hint else text)
        self.call = call
        self.errno = errno
        self.object = object
        self.hint = hint

    @classmethod
    def of(cls, call: str, error: OSError, object: str = "") -> KernelError:
        """The same for a failed call of the `os` module."""
        return cls(call, error.errno or 0, object or str(error.filename or ""))
