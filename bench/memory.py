"""What processes weigh: the sum of their proportional sets, and their CPU time."""

from __future__ import annotations

import os
from pathlib import Path

from tests.real import leaks


def daemons(run: Path) -> list[int]:
    """groundd, spawner and supervisors of the instance with this run directory; not the containers' own processes."""
    return [int(line.split(" ")[0]) for line in leaks.processes([run])]


def pss(pid: int) -> float:
    """MB of one process; 0 where it has just ended (or is a kernel's ghost)."""
    try:
        text = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def daemons_pss(run: Path) -> float:
    return sum(map(pss, daemons(run)))


def cpu_seconds(run: Path) -> float:
    """User and system time so far of the instance's processes."""
    ticks = 0
    for pid in daemons(run):
        try:
            fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
