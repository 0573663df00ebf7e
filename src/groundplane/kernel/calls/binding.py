"""How a system call is made: prototypes bound once, EINTR retried, every refusal a KernelError naming call and object.

All calls go through libc's `syscall`, not its wrappers: a raw number means the same on every libc, and wrappers such
as setresuid(3) try to signal the threads of a process that a raw clone3 has left without them. Each bound call is its
own function object, because ctypes keeps the prototype there.

The C module under `ctypes` is used directly: the package around it costs 2 ms of a cold start that has 20, for types of
C and of other systems that system calls have no use for.
"""

from __future__ import annotations

import errno
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)

from groundplane.kernel.calls.numbers import numbers
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ctypes import Array
    from typing import Any

    Simple = _SimpleCData[Any]
else:
    Simple = _SimpleCData

__all__ = ["BUFFER", "INT", "TEXT", "addressof", "bind", "bind_plain", "path_bytes", "room", "strings"]


class INT(Simple):
    """Every integer and every address (C's long); the kernel takes the width it wants."""

    _type_ = "l"


class TEXT(Simple):
    """Bytes ending in NUL, or None."""

    _type_ = "z"


class BUFFER(Simple):
    """Bytes or a `room` by reference, or None."""

    _type_ = "P"


class _Byte(Simple):
    _type_ = "c"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = INT


class _FunctionWithGil(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI
    _restype_ = INT


_numbers = numbers()
# None is this program: the libc that Python runs on.
_syscall = dlsym(dlopen(None, 0), "syscall")  # type: ignore[arg-type] # because the stubs do not know None


def bind(call: str, *kinds: Any, keep_gil: bool = False) -> Callable[..., int]:
    """A function `(object, *arguments) -> result` for a system call; `object` is what an error names.

    `keep_gil` is for calls after which Python must go on in two processes (clone3) and for very short ones.
    """
    function = (_FunctionWithGil if keep_gil else _Function)(_syscall)
    function.argtypes = (INT, *kinds)
    number = _numbers[call]

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
    function = _Function(_syscall)
    number = _numbers[call]

    def invoke(*arguments: int) -> int:
        result: int = function(number, *arguments)
        if result == -1:
            raise KernelError(call, get_errno())
        return result

    return invoke


def room(size: int) -> Array[Any]:
    """Zeroed memory for the kernel to write to; `.raw` are its bytes, `addressof` says where it is."""
    memory: Array[Any] = (_Byte * size)()
    return memory


def strings(values: Sequence[bytes]) -> Array[Any]:
    """An array of C strings that ends with NULL, as execve(2) takes."""
    array: Array[Any] = (TEXT * (len(values) + 1))(*values, None)
    return array


def path_bytes(path: str | bytes) -> bytes:
    """A path as the kernel takes it. Raises KernelError (EINVAL) for an embedded NUL, which C would cut off."""
    data = path if isinstance(path, bytes) else path.encode(errors="surrogateescape")
    if b"\0" in data:
        raise KernelError("path", errno.EINVAL, repr(path), "a path cannot contain a NUL byte")
    return data
