"""Landlock: which version of it this kernel has. landlock(7), landlock_create_ruleset(2), Linux ≥ 5.13."""

from __future__ import annotations

from groundplane.kernel.calls.binding import INT, bind
from groundplane.kernel.errors import KernelError

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_create_ruleset = bind("landlock_create_ruleset", INT, INT, INT)


def abi() -> int:
    """The version of the interface; 0 where the kernel has none, or was started without it."""
    try:
        return _create_ruleset("version", 0, 0, _VERSION)
    except KernelError:  # ENOSYS: not compiled in; EOPNOTSUPP: not in the `lsm=` list
        return 0
