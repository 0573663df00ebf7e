"""What runs in a container and what it uses: top, stats."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from groundplane.base.jsonyaml import dumps
from groundplane.base.tasks import in_thread
from groundplane.dockerapi.door import Door, door, json_answer
from groundplane.dockerapi.query import flag
from groundplane.dockerapi.stamps import time_text
from groundplane.engine.contract import Conflicting, ContainerInfo, EngineError, NoSuchContainer, State

_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_TICKS = os.sysconf("SC_CLK_TCK")
_INTERVAL = 1.0  # seconds between two readings of a stream, as Docker's


async def top(request: web.Request) -> web.Response:
    """The container's processes, as `ps -ef` shows them. Options for ps are not offered."""
    info = door(request).engine.containers.get(request.match_info["id"])
    if info.state is not State.RUNNING:
        raise Conflicting(f"container {info.id} is not running")
    found = await in_thread(lambda: list(_processes(info.id)))  # a look at each process of the host
    return json_answer({"Titles": _TITLES, "Processes": found})


def _processes(id: str) -> Iterator[list[str]]:
    """Those in the container's cgroup, whose name is its id: its PID namespace may be the host's or a pod's."""
    for name in sorted((n for n in os.listdir("/proc") if n.isdigit()), key=int):
        try:
            with open(f"/proc/{name}/cgroup", encoding="utf-8", errors="replace") as f:
                is_inside = f"/{id}" in f.read()
            if is_inside:
                yield _process(name)
        except OSError:
            continue  # it ended meanwhile


def _process(pid: str) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        head, _, rest = f.read().rpartition(")")
    fields = rest.split()  # from the third on: state is fields[0] (proc_pid_stat(5))
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
        command = " ".join(f.read().replace("\0", " ").split()) or f"[{head.partition('(')[2]}]"
    uid = os.stat(f"/proc/{pid}").st_uid
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    seconds = (int(fields[11]) + int(fields[12])) // _TICKS
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    started = time.strftime("%H:%M", time.localtime(boot + int(fields[19]) / _TICKS))
    used = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return [
        user,
        pid,
        fields[1],
        "0",
        started,
        "?" if fields[4] == "0" else f"pts/{int(fields[4]) & 0xFF}",
        used,
        command,
    ]


async def stats(request: web.Request) -> web.StreamResponse:
    """One reading (`stream=0`), or one a second until the container ends or the client leaves."""
    here = door(request)
    info = here.engine.containers.get(request.match_info["id"])
    if not flag(request, "stream", default=True):
        first = {} if flag(request, "one-shot") else await _first_reading(here, info)
        return json_answer(_reading(here, info, first))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    before: dict[str, Any] = {}
    while True:
        try:
            info = here.engine.containers.get(info.id)
        except NoSuchContainer:  # it was removed: that is the end, too
            return response
        reading = _reading(here, info, before)
        await response.write(dumps(reading) + b"\n")
        if info.state is not State.RUNNING:
            return response
        before = reading
        await here.clock.sleep(_INTERVAL)


async def _first_reading(here: Door, info: ContainerInfo) -> dict[str, Any]:
    """A percentage needs two readings; without `one-shot`, Docker takes the first one before it answers."""
    if info.state is not State.RUNNING:
        return {}
    reading = _reading(here, info, {})
    await here.clock.sleep(_INTERVAL)
    return reading


def _reading(here: Door, info: ContainerInfo, before: dict[str, Any]) -> dict[str, Any]:
    used: dict[str, int] = {}
    if info.state is State.RUNNING:
        try:
            used = dict(here.engine.containers.stats(info.id))
        except EngineError:
            used = {}  # it ended meanwhile: an empty reading, as Docker's
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = {"usage": used["memory"], "limit": info.spec.resources.memory or total, "stats": {}} if used else {}
    empty = {"cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}}
    return {
        "read": time_text(int(here.clock.time() * 1e9)),
        "preread": before.get("read", "0001-01-01T00:00:00Z"),
        "name": f"/{info.spec.name}",
        "id": info.id,
        "num_procs": 0,
        "pids_stats": {"current": used["pids"]} if used else {},
        "cpu_stats": _cpu(used["cpu_ns"]) if used else empty,
        "precpu_stats": before.get("cpu_stats", empty),
        "memory_stats": memory,
        "blkio_stats": {},
        "networks": {},
        "storage_stats": {},
    }


def _cpu(nanoseconds: int) -> dict[str, Any]:
    with open("/proc/stat", encoding="ascii") as f:
        ticks = sum(int(word) for word in f.readline().split()[1:9])  # guest time is in user time already
    return {
        "cpu_usage": {"total_usage": nanoseconds, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "system_cpu_usage": ticks * 1_000_000_000 // _TICKS,
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
