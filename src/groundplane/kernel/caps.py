"""Capabilities: their names, and the five sets of this process. capabilities(7)."""

from __future__ import annotations

import errno
import struct

from groundplane.kernel.calls import process
from groundplane.kernel.calls.binding import BUFFER, bind
from groundplane.kernel.calls.files import read_text
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# linux/capability.h, in order of their numbers (41 of them since Linux 5.9).
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
_capset = bind("capset", BUFFER, BUFFER)


def mask(names: Iterable[str]) -> int:
    """A set as a bit mask; names that this table does not know are left out (`unknown` lists them)."""
    bits = 0
    for name in names:
        if (number := NUMBERS.get(name)) is not None:
            bits |= 1 << number
    return bits


def unknown(names: Iterable[str]) -> list[str]:
    """The names of capabilities that do not exist."""
    return [name for name in names if name not in NUMBERS]


def names(bits: int) -> list[str]:
    """The names of a bit mask's capabilities, lowest number first."""
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


def last() -> int:
    """The highest capability this kernel knows (/proc/sys/kernel/cap_last_cap, Linux ≥ 3.2)."""
    return int(read_text("/proc/sys/kernel/cap_last_cap"))


def current(pid: int | str = "self") -> dict[str, int]:
    """The five sets of a process from /proc/PID/status: keys CapInh, CapPrm, CapEff, CapBnd, CapAmb."""
    lines = (line.split(":\t") for line in read_text(f"/proc/{pid}/status").splitlines() if line.startswith("Cap"))
    return {key: int(value, 16) for key, value in lines}


def limit_bounding(bits: int, last_capability: int) -> None:
    """Drop every capability outside `bits` from the bounding set; needs CAP_SETPCAP."""
    drop = process.drop_bounding
    for number in range(last_capability + 1):
        if not bits >> number & 1:
            drop(number)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's three classic sets. capset(2); a permitted set can only shrink."""
    low, high = 0xFFFFFFFF, 32
    words = (
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> high,
        permitted >> high,
        inheritable >> high,
    )
    _capset(f"effective {effective:#x} permitted {permitted:#x}", _HEADER, struct.pack("=6I", *words))


def set_ambient(bits: int, last_capability: int) -> None:
    """Make the ambient set `bits`, each of which must be permitted and inheritable. Linux ≥ 4.3."""
    try:
        process.clear_ambient()
    except KernelError as error:
        if error.errno == errno.EINVAL and not bits:
            return  # a kernel without ambient sets, and nobody asked for one
        raise
    for number in range(last_capability + 1):
        if bits >> number & 1:
            process.raise_ambient(number)
