"""Putting a compiled filter in force for this process and all it starts. seccomp(2), Linux ≥ 3.17."""

from __future__ import annotations

import struct

from groundplane.kernel.calls.binding import BUFFER, INT, addressof, bind, room

_SET_MODE_FILTER = 1

# linux/seccomp.h
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,  # ≥ 4.14
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,  # ≥ 4.17
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,  # ≥ 5.19
}

_NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER, ≥ 5.0
_TSYNC_ESRCH = 16  # ≥ 5.7: with it a failing TSYNC is an errno, so that the result can be the listener
LISTENER = _NEW_LISTENER

_seccomp = bind("seccomp", INT, INT, BUFFER)


def install(program: bytes, flags: int) -> int:
    """Needs no_new_privs or CAP_SYS_ADMIN. With LISTENER in `flags` a descriptor for the agent that answers, else 0.

    The descriptor is close-on-exec. Raises KernelError (EBUSY where a filter with a listener is in force already).
    """
    if flags & LISTENER and flags & FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]:
        flags |= _TSYNC_ESRCH
    code = room(len(program))
    code.raw = program
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    return _seccomp("filter", _SET_MODE_FILTER, flags, struct.pack("@HP", len(program) // 8, addressof(code)))
