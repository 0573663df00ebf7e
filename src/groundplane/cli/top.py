"""`ground top`: the processes of a container."""

from __future__ import annotations

from groundplane.cli.api import Api
from groundplane.cli.options import Command
from groundplane.cli.place import Place
from groundplane.cli.tables import show, table

COMMAND = Command("top", "CONTAINER", "Display the running processes of a container", minimum=1, maximum=1)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    found = Api(place).json("GET", f"/containers/{given.words[0]}/top")
    show(table(found["Titles"], found["Processes"]))
    return 0
