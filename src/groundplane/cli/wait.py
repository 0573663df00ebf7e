"""`ground wait`: block until containers stop, then print their exit codes."""

from __future__ import annotations

from groundplane.cli.api import Api
from groundplane.cli.each import for_each
from groundplane.cli.options import Command
from groundplane.cli.place import Place

COMMAND = Command(
    "wait",
    "CONTAINER [CONTAINER...]",
    "Block until one or more containers stop, then print their exit codes",
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    api = Api(place)
    return for_each(
        given.words,
        lambda name: api.send("POST", f"/containers/{name}/wait"),
        lambda _, pending: pending.json()["StatusCode"],
    )
