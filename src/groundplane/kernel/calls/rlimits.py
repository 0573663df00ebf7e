"""Resource limits of this or another process. prlimit(2), getrlimit(2)."""

from __future__ import annotations

import struct

from groundplane.kernel.calls.binding import BUFFER, INT, bind, room

# asm-generic/resource.h: x86-64 and aarch64 share it.
RESOURCES: dict[str, int] = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
INFINITY = 0xFFFFFFFFFFFFFFFF

_prlimit64 = bind("prlimit64", INT, INT, BUFFER, BUFFER)


def prlimit(pid: int, resource: str, soft: int, hard: int) -> None:
    """Set the limits of `pid` (0: this process). Raising `hard` needs CAP_SYS_RESOURCE, else EPERM. Linux ≥ 2.6.36."""
    _prlimit64(f"{resource} soft {soft} hard {hard}", pid, RESOURCES[resource], struct.pack("=2Q", soft, hard), None)


def get_rlimit(pid: int, resource: str) -> tuple[int, int]:
    """The (soft, hard) limits of `pid` (0: this process)."""
    old = room(16)
    _prlimit64(resource, pid, RESOURCES[resource], None, old)
    soft, hard = struct.unpack("=2Q", old.raw)
    return soft, hard
