"""Everything on this host that a Groundplane could have left: for the whole suite's proof that it left nothing."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

from groundplane.kernel.netlink.channel import NETFILTER, Channel
from groundplane.kernel.nftables.listing import tables

_FILES = ("/tmp/ground-test-*", "/tmp/ground-bench-*", "/run/groundplane*", "/var/lib/groundplane*", "/run/netns/*")
_MARKS = (b"groundplane.daemon.main", b"runtime/resident", b"groundplane.runtime.resident")
_NAMES = ("groundd", "ground-")


def traces() -> set[str]:
    """Mounts, links, nf_tables tables, cgroups, processes and files, a line each."""
    return set(_mounts()) | set(_links()) | set(_tables()) | set(_cgroups()) | set(_processes()) | set(_files())


def left_since(before: set[str], patience: float = 60) -> list[str]:
    """Traces that were not there; what has just been killed may take a moment, `patience` seconds, to be gone."""
    deadline = time.monotonic() + patience
    while (left := traces() - before) and time.monotonic() < deadline:
        time.sleep(0.05)  # between two looks
    return sorted(left)


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield f"mount {line.split(' ')[4]}"


def _links() -> Iterator[str]:
    for name in os.listdir("/sys/class/net"):
        yield f"link {name}"


def _tables() -> Iterator[str]:
    if os.geteuid() == 0:  # CAP_NET_ADMIN: nobody else could have made one
        with Channel(NETFILTER) as channel:
            for name in tables(channel):
                yield f"nf_tables table {name}"


def _cgroups() -> Iterator[str]:
    for base, folders, _ in os.walk("/sys/fs/cgroup"):
        for name in folders:
            if "ground" in name or "kubepods" in name:
                yield f"cgroup {base}/{name}"


def _processes() -> Iterator[str]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", pid, "cmdline").read_bytes()
            name = Path("/proc", pid, "comm").read_text().strip()
            ended = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue  # it has just ended
        if ended:
            continue  # a child of this suite that nobody has waited for: it holds nothing, and goes with the suite
        if int(pid) != os.getpid() and (name.startswith(_NAMES) or any(mark in line for mark in _MARKS)):
            yield f"process {pid} {name}: {line[:160].replace(bytes(1), b' ').decode(errors='replace')}"


def _files() -> Iterator[str]:
    for pattern in _FILES:
        for path in glob.glob(pattern):
            yield f"file {path}"
