"""System call names and numbers by architecture; written by `tools/syscall_tables.py`, loaded to compile."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def load(architecture: str) -> Mapping[str, int]:
    """The numbers of `x86_64`, `x86`, `x32`, `aarch64` or `arm` by name."""
    if architecture == "x86_64":
        from groundplane.kernel.seccomp.tables.x86_64 import NUMBERS
    elif architecture == "x86":
        from groundplane.kernel.seccomp.tables.x86 import NUMBERS
    elif architecture == "x32":
        from groundplane.kernel.seccomp.tables.x32 import NUMBERS
    elif architecture == "aarch64":
        from groundplane.kernel.seccomp.tables.aarch64 import NUMBERS
    elif architecture == "arm":
        from groundplane.kernel.seccomp.tables.arm import NUMBERS
    else:
        raise ValueError(f"seccomp: the architecture {architecture} is not supported")
    return NUMBERS
