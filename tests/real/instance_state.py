"""All that an instance has on its host, in words that are the same for every pod of one kind.

Files below its directories (with FIFOs and sockets), mounts, cgroups and how many processes are in each, its own
processes, links, addresses, routes and nf_tables elements of its network host. Ids, addresses and random names are
taken out, so that what one pod's life has left can be compared with what another's has.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.real import leaks
from tests.real.platform_rig import Platform

from groundplane.base.ids import instance_hash

_VOLATILE = ("/root/store/", "/root/log/")  # the database's own files come and go
_PLAIN = (
    (re.compile(r"[0-9a-f]{64}"), "ID"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])"), "ID"),
    (re.compile(r"\b10\.244(\.\d+){2}"), "ADDRESS"),
    (re.compile(r"(?<=HASH)0af4[0-9a-f]{4}"), "ADDRESS"),
    (re.compile(r"(?<=kube-api-access-)[b-z2-9]{5}"), "SUFFIX"),
    (re.compile(r"\.\.\d{4}(_\d+)+\.\d+"), "..STAMP"),
)


def state(platform: Platform) -> Counter[str]:
    """A line for each thing."""
    hash = instance_hash(str(platform.root))
    found: Counter[str] = Counter()
    for line in (*_files(platform), *_mounts(platform), *_cgroups(platform), *_processes(platform), *_net(platform)):
        line = line.replace(hash, "HASH").replace(str(platform.directory), "")
        for pattern, word in _PLAIN:
            line = pattern.sub(word, line)
        found[line] += 1
    return found


def difference(found: Counter[str], expected: Counter[str]) -> list[str]:
    """What is there too much, and what is missing; empty where both are alike."""
    return [f"too much: {line}" for line in (found - expected).elements()] + [
        f"missing: {line}" for line in (expected - found).elements()
    ]


def _files(platform: Platform) -> Iterator[str]:
    for top in (platform.root, platform.run_dir):
        for folder, folders, files in os.walk(top):
            is_content = Path(folder).parent.parent.name in ("layers", "containers") and "/snapshots/" in folder
            if is_content and Path(folder).name in ("fs", "root"):
                folders.clear()  # an image's files, or the mount of a container
                continue
            for name in (*folders, *files):
                path = f"{folder}/{name}"
                if not any(part in path for part in _VOLATILE):
                    yield f"file {path}"


def _mounts(platform: Platform) -> Iterator[str]:
    for point in leaks.mounts((platform.root, platform.run_dir)):
        yield f"mount {point}"


def _cgroups(platform: Platform) -> Iterator[str]:
    for top in leaks.cgroups(platform.root):
        for folder, _, _ in os.walk(top):
            try:
                inside = len(Path(folder, "cgroup.procs").read_text().split())
            except OSError:  # it was just removed
                continue
            yield f"cgroup {folder} with {inside} processes"


def _processes(platform: Platform) -> Iterator[str]:
    for line in leaks.processes((platform.root, platform.run_dir)):
        pid, name, _ = line.split(" ", 2)
        try:
            ended = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        yield f"process {name}{' (unreaped)' if ended else ''}"


def _net(platform: Platform) -> Iterator[str]:
    script = "ip -o link; ip -o address; ip route show table all; ip neigh show nud permanent; nft list ruleset"
    for line in platform.host.shell(script).splitlines():
        line = re.sub(r"(^\d+:|@if\d+|link-netnsid \d+|packets \d+|bytes \d+|valid_lft.*|# handle \d+)", "", line)
        line = re.sub(r"\b(link/ether|permaddr|brd|lladdr) [0-9a-f:]{17}", r"\1", line)
        if "fe80:" not in line and "ff00::" not in line:  # made by the kernel, some time after the link
            yield f"net {' '.join(line.split())}"
