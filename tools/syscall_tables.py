"""Writes `src/groundplane/kernel/seccomp/tables/`: system call names and numbers of each architecture.

Reads the kernel's user-space headers as the C compiler sees them (`linux-libc-dev`, and for 32-bit Arm
`linux-libc-dev-armhf-cross`), and adds the calls that are newer than those headers. Run it as
`python tools/syscall_tables.py` on a Debian x86-64 machine, with the directory of Arm's headers as argument where it is
not the package's; the result is committed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src/groundplane/kernel/seccomp/tables"
HEADERS = {
    "x86_64": ("asm/unistd_64.h", ()),
    "x86": ("asm/unistd_32.h", ()),
    "x32": ("asm/unistd_x32.h", ("-D__X32_SYSCALL_BIT=0x40000000",)),
    "aarch64": (
        "asm-generic/unistd.h",
        (
            "-D__BITS_PER_LONG=64",
            "-D__ARCH_WANT_RENAMEAT",
            "-D__ARCH_WANT_NEW_STAT",
            "-D__ARCH_WANT_SET_GET_RLIMIT",
            "-D__ARCH_WANT_TIME32_SYSCALLS",
            "-D__ARCH_WANT_SYS_CLONE3",
            "-D__ARCH_WANT_MEMFD_SECRET",
        ),
    ),
    "arm": (
        "asm/unistd.h",
        ("-nostdinc", "-D__ARM_EABI__", "-I", *(sys.argv[1:] or ["/usr/arm-linux-gnueabihf/include"])),
    ),
}
# arch/arm/include/uapi/asm/unistd.h: calls of Arm's own, by the names that libseccomp gives them.
ARM = {"breakpoint": 0xF0001, "cacheflush": 0xF0002, "usr26": 0xF0003, "usr32": 0xF0004, "set_tls": 0xF0005}
# Linux 6.2 to 6.17, the same numbers everywhere (scripts/syscall.tbl).
NEWER = (
    "cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr "
    "lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr "
    "file_getattr file_setattr"
)
FIRST_NEWER = 451


def names(header: str, defines: tuple[str, ...]) -> dict[str, int]:
    """Every `__NR_name` of a header with its number, as the preprocessor computes it."""
    macros = subprocess.run(
        ["cc", "-E", "-dM", "-include", header, *defines, "-x", "c", "/dev/null"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.findall(r"^#define __NR3?2?_?(\w+) ", macros, re.M)
    found = sorted({n for n in found if n not in ("syscalls", "arch_specific_syscall") and n.islower()})
    source = "\n".join(f"{n} = __NR_{n}" for n in found if f"#define __NR_{n} " in macros)
    text = subprocess.run(
        ["cc", "-E", "-P", "-include", header, *defines, "-x", "c", "-"],
        input=source,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    result = {}
    for line in text.splitlines():
        name, _, expression = line.partition(" = ")
        if expression and re.fullmatch(r"[0-9xa-fA-F+() ]+", expression):
            result[name.strip()] = eval(expression)
    return result


def main() -> None:
    for arch, (header, defines) in HEADERS.items():
        table = names(header, defines)
        table |= ARM if arch == "arm" else {}
        base = 0x40000000 if arch == "x32" else 0
        for offset, name in enumerate(NEWER.split()):
            table.setdefault(name, base + FIRST_NEWER + offset)
        rows = [
            f"    {name!r}: {number},".replace("'", '"') for name, number in sorted(table.items(), key=lambda i: i[1])
        ]
        text = f'"""System calls of {arch}; written by `tools/syscall_tables.py`."""\n\nNUMBERS = {{\n'
        (TARGET / f"{arch}.py").write_text(text + "\n".join(rows) + "\n}\n")
        print(arch, len(table))


if __name__ == "__main__":
    main()
