"""What an instance has on the host, so that a test can prove that nothing of it is left: take a `snapshot` at the end.

An instance's traces carry its paths or its 6-hex hash (base.ids.instance_hash): mounts below its directories, cgroups
of its name, processes whose command line names its directories or that were forked from its spawner, and files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from groundplane.base.ids import instance_hash


def mounts(directories: Iterable[Path]) -> list[str]:
    """Mount points (overlays, bound namespaces …) below these directories, in this mount namespace."""
    prefixes = tuple(f"{path}/" for path in directories)
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(prefixes)]


def cgroups(root: Path) -> list[str]:
    """Groups of the instance with this state root, in any hierarchy."""
    mark = f"-{instance_hash(str(root))}"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] not in ("cgroup", "cgroup2"):
            continue
        found += [f"{fields[4]}/{name}" for name in os.listdir(fields[4]) if name.endswith(mark)]
    return found


def processes(directories: Iterable[Path]) -> list[str]:
    """Processes whose command line names one of these directories (a spawner's, and so its forks', does)."""
    marks = [str(path).encode() for path in directories]
    found = []
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            line = Path("/proc", pid, "cmdline").read_bytes()
            name = Path("/proc", pid, "comm").read_text().strip()
        except OSError:
            continue
        if any(mark in line for mark in marks):
            found.append(f"{pid} {name} {line[:200]!r}")
    return found


def files(directory: Path) -> list[str]:
    """Everything below a directory that is not itself a directory."""
    if not directory.is_dir():
        return []
    return [str(path) for path in directory.rglob("*") if not path.is_dir()]


def left(root: Path, run: Path) -> list[str]:
    """All traces of an instance but the files of its state root, which outlive it."""
    places = (root, run)
    return [
        *(f"mount {point}" for point in mounts(places)),
        *(f"cgroup {path}" for path in cgroups(root)),
        *(f"process {line}" for line in processes(places)),
    ]
