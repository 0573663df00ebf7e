"""Errors in Go's words, because Docker, containerd and podman look for them in what a runtime says."""

from __future__ import annotations

import os

from groundplane.kernel.errors import KernelError


def words(error: Exception) -> str:
    """`open /x: no such file or directory` for a refusal of the kernel; any other error as it says itself."""
    if isinstance(error, KernelError):
        text = f"{error.call} {error.object}".rstrip() + f": {strerror(error.errno)}"
        return f"{text}: {error.hint}" if error.hint else text
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"{strerror(error.errno or 0)}{where}"
    return str(error)


def cgroup_words(error: Exception) -> str:
    """As runc's cgroup library says it: `failed to write "10": write FILE: invalid argument`."""
    if not isinstance(error, KernelError):
        return str(error)
    if error.call == "write" and error.hint.startswith("value "):
        value = error.hint.removeprefix("value ")[1:-1]
        return f'failed to write "{value}": write {error.object}: {strerror(error.errno)}'
    return error.hint or words(error)


def strerror(number: int) -> str:
    """An errno as Go spells it: lower case."""
    return os.strerror(number).lower()
