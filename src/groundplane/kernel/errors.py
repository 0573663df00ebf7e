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
        super().__init__(call, errno, object, hint)
        self.call = call
        self.errno = errno
        self.object = object
        self.hint = hint

    def __str__(self) -> str:
        """Put together only where somebody reads it: most refusals are answers to a question."""
        name = _errno.errorcode.get(self.errno, str(self.errno))
        text = f"{self.call} {self.object}".rstrip() + f": {os.strerror(self.errno)} ({name})"
        return f"{text}: {self.hint}" if self.hint else text

    @classmethod
    def of(cls, call: str, error: OSError, object: str = "") -> KernelError:
        """The same for a failed call of the `os` module."""
        return cls(call, error.errno or 0, object or str(error.filename or ""))
