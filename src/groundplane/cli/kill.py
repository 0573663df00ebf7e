"""`ground kill`: a signal to a container's process."""

from __future__ import annotations

from groundplane.cli.api import Api
from groundplane.cli.each import for_each
from groundplane.cli.options import Command, text
from groundplane.cli.place import Place

COMMAND = Command(
    "kill",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Kill one or more running containers",
    (text("signal", "s", "string", "Signal to send to the container (default SIGKILL)"),),
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    api = Api(place)
    query = {"signal": given.text("signal")}
    return for_each(given.words, lambda name: api.send("POST", f"/containers/{name}/kill", query))
