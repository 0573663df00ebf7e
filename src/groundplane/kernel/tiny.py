"""Programs of a few instructions: executable files in memory that nobody can write to and nothing on disk stands for.

A program is a *listing*: a line for each instruction, its bytes first, then what an assembler calls it. It needs no
library, no relocation and no stack beyond its arguments. The tests assemble the listings again.
"""

from __future__ import annotations

import fcntl
import os
import struct

from groundplane.kernel.errors import KernelError

_MACHINES = {"x86_64": 62, "aarch64": 183}  # EM_X86_64, EM_AARCH64 of elf.h
_BASE = 0x400000
_HEADERS = 64 + 2 * 56
_PAGE = 0x10000  # the largest that aarch64 has

_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 1, 2, 16  # memfd_create(2); MFD_EXEC since Linux 6.3
_F_ADD_SEALS = 1033
_ALL_SEALS = 15  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE


def code(listing: str) -> bytes:
    """A listing's bytes."""
    return bytes.fromhex("".join([line.partition(" ")[0] for line in listing.split("\n")]))


def elf(code: bytes, machine: str) -> bytes:
    """The ELF file for `machine`: one segment to load, and a stack that is not executable."""
    size = _HEADERS + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little endian, version 1
    # elf(5), Elf64_Ehdr: ET_EXEC 2; then the sizes and numbers of program and section headers.
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, _MACHINES[machine], 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, _PAGE)  # PT_LOAD, readable and executable
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)  # PT_GNU_STACK, readable and writable
    return header + load + stack + code


def sealed(name: str, data: bytes) -> int:
    """A descriptor (close-on-exec) of that file, for execveat(2). Raises KernelError, also where hosts forbid it."""
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        try:
            fd = os.memfd_create(name, flags | _MFD_EXEC)
        except OSError as error:
            if error.errno != 22:  # EINVAL: Linux < 6.3, where all are executable
                raise
            fd = os.memfd_create(name, flags)
    except OSError as error:  # EACCES: sysctl vm.memfd_noexec=2
        raise KernelError.of("memfd_create", error, "an executable file") from error
    os.write(fd, data)
    fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
    return fd
