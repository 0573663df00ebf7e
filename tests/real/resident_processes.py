"""Which of an instance's `ground-superv` processes is what: all have that name until they execute something else."""

from __future__ import annotations

import os
from pathlib import Path

from groundplane.runtime.resident import slots


def is_zygote(pid: int) -> bool:
    """The one that has its own socket and nobody's order."""
    return _name(pid) == "ground-superv" and _has(pid, slots.ZYGOTE) and not _has(pid, slots.SPAWNER)


def is_supervisor(pid: int) -> bool:
    """A child of a zygote, or an orphan of one; launchers, and containers before they begin, are its children."""
    if _name(pid) != "ground-superv" or is_zygote(pid):
        return False
    parent = int(_stat(pid)[1] or 0)
    return _name(parent) != "ground-superv" or is_zygote(parent)


def lives(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in found]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() if lives(pid) else ""
    except OSError:
        return ""


def _has(pid: int, fd: int) -> bool:
    return os.path.lexists(f"/proc/{pid}/fd/{fd}")


def _stat(pid: int) -> list[str]:
    """State and parent (proc_pid_stat(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return ["X", "0"]
