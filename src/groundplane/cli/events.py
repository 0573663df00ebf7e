"""`ground events`: follow what happens to containers."""

from __future__ import annotations

import sys
import time

from groundplane.base.quickjson import decode
from groundplane.cli.api import Api
from groundplane.cli.logs import moment
from groundplane.cli.options import Command, many, text
from groundplane.cli.place import Place
from groundplane.cli.tables import filter_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "events",
    "[OPTIONS]",
    "Get real time events from the engine",
    (
        many("filter", "f", "filter", "Filter output based on conditions provided"),
        text("format", "", "string", "Format output: json, or a Go template"),
        text("until", "", "string", "Stream events until this timestamp"),
    ),
    maximum=0,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    query = {"filters": filter_argument(given.many("filter")), "until": moment(given.text("until"))}
    form = given.text("format")
    for line in Api(place).open("GET", "/events", query).lines():
        if line.strip():
            sys.stdout.write(_shown(line, form))
            sys.stdout.flush()
    return 0


def _shown(line: bytes, form: str) -> str:
    if form == "json":
        return line.decode() + "\n"
    event = decode(line)
    if form:
        from groundplane.cli.template import Template

        return Template(form).render(event) + "\n"
    return _plain(event)


def _plain(event: dict[str, Any]) -> str:
    seconds, fraction = divmod(event["timeNano"], 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{fraction:09d}{zone[:3]}:{zone[3:]}"
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(event["Actor"]["Attributes"].items()))
    return f"{stamp} {event['Type']} {event['Action']} {event['Actor']['ID']} ({attributes})\n"
