"""What tests of `ground-runtime`'s command line share: its sentences, waiting, and what a group grants."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.real.bundles import CommandLine

from groundplane.kernel.cgroups import registry

V2 = registry.detect().layout == "v2" if os.path.isdir("/sys/fs/cgroup") else False


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of the log without its time, in the words of one program."""
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    return line.partition("level=")[2].replace("ground-runtime", "runc").replace("\\n", "")


def wait_until_stopped(command: CommandLine, id: str) -> None:
    while json.loads(command("state", id).stdout)["status"] != "stopped":
        pass


FILES = {
    "memory": ("memory", "memory.limit_in_bytes", "memory.max"),
    "swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "reservation": ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    "shares": ("cpu", "cpu.shares", "cpu.weight"),
    "quota": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    "period": ("cpu", "cpu.cfs_period_us", "cpu.max"),
    "burst": ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
    "idle": ("cpu", "cpu.idle", "cpu.idle"),
    "cpus": ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    "mems": ("cpuset", "cpuset.mems", "cpuset.mems"),
    "pids": ("pids", "pids.max", "pids.max"),
    "io": ("blkio", "blkio.bfq.weight", "io.weight"),
}


def granted(pid: int) -> dict[str, str]:
    """What the group of a process grants, whichever layout this is."""
    places = registry.detect().paths_of(pid)
    files = {}
    for name, (controller, v1, v2) in FILES.items():
        directory = places.get(controller) or places.get("", "")
        path = Path(directory) / (v1 if controller in places else v2)
        files[name] = path.read_text().strip() if path.exists() else ""
    return files
