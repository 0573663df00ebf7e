"""How a system call is made: prototypes bound once, EINTR retried, every refusal a KernelError naming call and object.

All calls go through libc's `syscall`, not its wrappers: a raw number means the same on every libc, and wrappers such
as setresuid(3) try to signal the threads of a process that a raw clone3 has left without them. Each bound call is its
own function object, because ctypes keeps the prototype there.
"""

from __future__ import annotations

import ctypes
import errno

from groundplane.kernel.calls.numbers import numbers
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INT = ctypes.c_long  # every integer and every address; the kernel takes the width it wants
TEXT = ctypes.c_char_p  # bytes ending in NUL, or None
BUFFER = ctypes.c_void_p  # a ctypes object by reference, or None

_numbers = numbers()
_libc = ctypes.CDLL(None, use_errno=True)
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)


def bind(call: str, *kinds: Any, keep_gil: bool = False) -> Callable[..., int]:
    """A function `(object, *arguments) -> result` for a system call; `object` is what an error names.

    `keep_gil` is for calls after which Python must go on in two processes (clone3) and for very short ones.
    """
    function = (_libc_with_gil if keep_gil else _libc)["syscall"]
    function.argtypes = (INT, *kinds)
    function.restype = INT
    number = _numbers[call]
    get_errno = ctypes.get_errno

    def invoke(object: str, *arguments: Any) -> int:
        while True:
            result: int = function(number, *arguments)
            if result != -1:
                return result
            if (error := get_errno()) != errno.EINTR:
                raise KernelError(call, error, object)

    return invoke


def bind_plain(call: str) -> Callable[..., int]:
    """The same without prototypes: small integers only, and at a refusal KernelError without an object.

    For what runs in every supervisor, where each Python object touched is a page of memory: 4 KB a call, not 115.
    """
    function = _libc["syscall"]
    number = _numbers[call]

    def invoke(*arguments: int) -> int:
        result: int = function(number, *arguments)
        if result == -1:
            raise KernelError(call, ctypes.get_errno())
        return result

    return invoke


def path_bytes(path: str | bytes) -> bytes:
    """A path as the kernel takes it. Raises KernelError (EINVAL) for an embedded NUL, which C would cut off."""
    data = path if isinstance(path, bytes) else path.encode(errors="surrogateescape")
    if b"\0" in data:
        raise KernelError("path", errno.EINVAL, repr(path), "a path cannot contain a NUL byte")
    return data
