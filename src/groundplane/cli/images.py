"""`ground images`: list images."""

from __future__ import annotations

import time

from groundplane.cli.api import Api
from groundplane.cli.options import Command, flag, many, text
from groundplane.cli.place import Place
from groundplane.cli.tables import filter_argument, listing, short_id, show
from groundplane.cli.units import human_duration, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS = (
    flag("all", "a", "Show all images"),
    flag("digests", "", "Show digests"),
    many("filter", "f", "filter", "Filter output based on conditions provided"),
    text("format", "", "string", "Format output: table, 'table TEMPLATE', json, or a Go template"),
    flag("no-trunc", "", "Don't truncate output"),
    flag("quiet", "q", "Only show image IDs"),
)
COMMAND = Command("images", "[OPTIONS] [REPOSITORY[:TAG]]", "List images", OPTIONS, maximum=1)
_HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
}
_SHOWN = ("Repository", "Tag", "ID", "CreatedSince", "Size")


def run(args: list[str], place: Place, command: Command = COMMAND) -> int:
    if (given := command.parse(args)) is None:
        return 0
    filters = given.many("filter") + [f"reference={word}" for word in given.words]
    found = Api(place).json("GET", "/images/json", {"filters": filter_argument(filters)})
    full = given.on("no-trunc")
    if given.on("quiet") and not given.text("format"):
        show("".join(f"{image['Id'] if full else short_id(image['Id'])}\n" for image in found))
        return 0
    rows = [row for image in found for row in _rows(image, given.words, full=full)]
    shown = ("Repository", "Tag", "Digest", *_SHOWN[2:]) if given.on("digests") else _SHOWN
    show(listing(rows, [(_HEADERS[field], field) for field in shown], given.text("format"), _HEADERS))
    return 0


def _rows(image: dict[str, Any], wanted: list[str], *, full: bool) -> list[dict[str, str]]:
    """One row for each name; one `<none>` row without."""
    digests = {item.partition("@")[0]: item.partition("@")[2] for item in image["RepoDigests"]}
    rows = []
    for name in image["RepoTags"] or ["<none>:<none>"]:
        repository, _, tag = name.rpartition(":")
        if wanted and wanted[0] not in (repository, name) and not any(c in wanted[0] for c in "*?["):
            continue
        rows.append(
            {
                "Repository": repository,
                "Tag": tag,
                "Digest": digests.get(repository, "<none>"),
                "ID": image["Id"] if full else short_id(image["Id"]),
                "CreatedSince": f"{human_duration(time.time() - image['Created'])} ago",
                "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(image["Created"])),
                "Size": human_size(image["Size"]),
                "Containers": str(image["Containers"]),
            }
        )
    return rows
