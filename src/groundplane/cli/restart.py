"""`ground restart`: stop, then start."""

from __future__ import annotations

from groundplane.cli import stop
from groundplane.cli.options import Command
from groundplane.cli.place import Place

COMMAND = Command(
    "restart",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Restart one or more containers",
    stop.COMMAND.options,
    minimum=1,
    aliases=stop.COMMAND.aliases,
)


def run(args: list[str], place: Place) -> int:
    return stop.run(args, place, COMMAND, "restart")
