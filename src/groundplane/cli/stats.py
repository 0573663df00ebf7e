"""`ground stats`: what containers use, once or again every second."""

from __future__ import annotations

import sys

from groundplane.cli.api import Api, ApiError, Pending
from groundplane.cli.options import Command, flag, text
from groundplane.cli.place import Place
from groundplane.cli.tables import listing, short_id, show
from groundplane.cli.units import human_binary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "stats",
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
    (
        flag("all", "a", "Show all containers (default shows just running)"),
        text("format", "", "string", "Format output: table, 'table TEMPLATE', json, or a Go template"),
        flag("no-stream", "", "Disable streaming stats and only pull the first result"),
        flag("no-trunc", "", "Do not truncate output"),
    ),
)
_HEADERS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "PIDs": "PIDS",
}


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    api = Api(place)
    while True:
        names = given.words or [
            c["Id"] for c in api.json("GET", "/containers/json", {"all": "1" if given.on("all") else ""})
        ]
        readings = _readings(api, names, strict=bool(given.words))
        rows = [_row(reading, full=given.on("no-trunc")) for reading in readings]
        screen = listing(rows, [(header, field) for field, header in _HEADERS.items()], given.text("format"), _HEADERS)
        if given.on("no-stream"):
            show(screen)
            return 0
        show(f"\033[2J\033[H{screen}" if sys.stdout.isatty() else screen)
        sys.stdout.flush()


def _readings(api: Api, names: list[str], *, strict: bool) -> list[dict[str, Any]]:
    """All at the same time: each takes the engine a second, because a percentage needs two measurements."""
    asked: list[Pending] = [api.send("GET", f"/containers/{name}/stats", {"stream": "0"}) for name in names]
    found = []
    for pending in asked:
        try:
            found.append(pending.json())
        except ApiError:
            if strict:
                raise
    return found


def _row(reading: dict[str, Any], *, full: bool) -> dict[str, str]:
    now, before = reading["cpu_stats"], reading["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    percent = used / passed * now.get("online_cpus", 1) * 100 if passed > 0 and used > 0 else 0.0
    memory = reading["memory_stats"]
    usage, limit = memory.get("usage", 0), memory.get("limit", 0)
    return {
        "ID": reading["id"] if full else short_id(reading["id"]),
        "Name": reading["name"].lstrip("/"),
        "CPUPerc": f"{percent:.2f}%",
        "MemUsage": f"{human_binary(usage)} / {human_binary(limit)}",
        "MemPerc": f"{usage / limit * 100 if limit else 0.0:.2f}%",
        "PIDs": str(reading["pids_stats"].get("current", 0)),
    }
