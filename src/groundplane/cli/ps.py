"""`ground ps`: list containers."""

from __future__ import annotations

import time

from groundplane.base.quickjson import quoted
from groundplane.cli.api import Api
from groundplane.cli.options import Command, flag, many, number, text
from groundplane.cli.place import Place
from groundplane.cli.tables import ellipsis, filter_argument, listing, short_id, show
from groundplane.cli.units import human_duration, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "ps",
    "[OPTIONS]",
    "List containers",
    (
        flag("all", "a", "Show all containers (default shows just running)"),
        many("filter", "f", "filter", "Filter output based on conditions provided"),
        text("format", "", "string", "Format output: table, 'table TEMPLATE', json, or a Go template"),
        number("last", "n", "Show n last created containers (includes all states)"),
        flag("latest", "l", "Show the latest created container (includes all states)"),
        flag("no-trunc", "", "Don't truncate output"),
        flag("quiet", "q", "Only display container IDs"),
        flag("size", "s", "Display total file sizes"),
    ),
    maximum=0,
)
_HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
    "CreatedAt": "CREATED AT",
    "State": "STATE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "Size": "SIZE",
}
_SHOWN = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    limit = 1 if given.on("latest") else given.number("last") or 0
    query = {
        "all": "1" if given.on("all") else "",
        "limit": str(limit) if limit > 0 else "",
        "filters": filter_argument(given.many("filter")),
        "size": "1" if given.on("size") or ".Size" in given.text("format") else "",
    }
    found = Api(place).json("GET", "/containers/json", query)
    full = given.on("no-trunc")
    if given.on("quiet") and not given.text("format"):
        show("".join(f"{c['Id'] if full else short_id(c['Id'])}\n" for c in found))
        return 0
    rows = [_row(container, full=full) for container in found]
    shown = (*_SHOWN, "Size") if given.on("size") else _SHOWN
    show(listing(rows, [(_HEADERS[field], field) for field in shown], given.text("format"), _HEADERS))
    return 0


def _row(container: dict[str, Any], *, full: bool) -> dict[str, str]:
    command, image = container["Command"], container["Image"]
    if image.startswith("sha256:") and not full:
        image = short_id(image)
    return {
        "ID": container["Id"] if full else short_id(container["Id"]),
        "Image": image or "<no image>",
        # As Go quotes it: a line end in a command must not end the row.
        "Command": quoted(command if full else ellipsis(command, 20)),
        "RunningFor": f"{human_duration(time.time() - container['Created'])} ago",
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(container["Created"])),
        "Status": container["Status"],
        "State": container["State"],
        "Ports": "",
        "Names": ",".join(name.lstrip("/") for name in container["Names"]),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(container["Labels"].items())),
        "Mounts": ",".join(mount["Source"] for mount in container["Mounts"]),
        "Networks": ",".join(container["NetworkSettings"]["Networks"]),
        "Size": f"{human_size(container.get('SizeRw', 0))} (virtual {human_size(container.get('SizeRootFs', 0))})",
    }
