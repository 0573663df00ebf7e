"""What processes weigh: the sum of their proportional sets, and their CPU time."""

from __future__ import annotations

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
    """Time on a processor so far, of all threads of the instance's processes.

    From schedstat, in nanoseconds: /proc/PID/stat counts the timer ticks that find a process running, which a loop
    that wakes for 100 µs hardly ever meets (proc_pid_stat(5); Documentation/scheduler/sched-stats.rst).
    """
    total = 0
    for pid in daemons(run):
        for task in Path("/proc", str(pid), "task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9
