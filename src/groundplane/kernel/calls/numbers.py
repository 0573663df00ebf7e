"""System call numbers by architecture: those that we call ourselves. `seccomp/tables.py` has all names.

Source: Linux arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (aarch64); from 424 on all
architectures share one numbering.
"""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import GroundError

# name: (x86-64, aarch64)
TABLE: dict[str, tuple[int, int]] = {
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "execveat": (322, 281),
    "faccessat2": (439, 439),
    "fstatfs": (138, 44),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "ioprio_set": (251, 30),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "landlock_create_ruleset": (444, 444),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "rt_sigaction": (13, 134),
    "seccomp": (317, 277),
    "setdomainname": (171, 162),
    "setgroups": (116, 159),
    "sched_setattr": (314, 274),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "umount2": (166, 39),
    "unshare": (272, 97),
}

ARCHITECTURES = ("x86_64", "aarch64")


def architecture(machine: str | None = None) -> str:
    """`x86_64` or `aarch64`, as uname(2) says. Raises GroundError for any other machine and for 32-bit processes."""
    name = os.uname().machine if machine is None else machine
    if name not in ARCHITECTURES or sys.maxsize < 2**32:
        raise GroundError(
            f"this machine's architecture ({name}) is not supported: use a 64-bit x86-64 or aarch64 Linux"
        )
    return name


def numbers(machine: str | None = None) -> dict[str, int]:
    """The calls' numbers of one architecture. Raises GroundError where it is not one of ours."""
    column = ARCHITECTURES.index(architecture(machine))
    return {name: row[column] for name, row in TABLE.items()}
