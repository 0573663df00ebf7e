"""Putting a compiled filter in force for this process and all it starts. seccomp(2), Linux ≥ 3.17."""

from __future__ import annotations

import ctypes
import struct

from groundplane.kernel.calls.binding import BUFFER, INT, bind

_SET_MODE_FILTER = 1

# linux/seccomp.h
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,  # ≥ 4.14
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,  # ≥ 4.17
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,  # ≥ 5.19
}

_seccomp = bind("seccomp", INT, INT, BUFFER)


def install(program: bytes, flags: int) -> None:
    """Needs no_new_privs or CAP_SYS_ADMIN. Raises KernelError."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    _seccomp("filter", _SET_MODE_FILTER, flags, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
