"""`ground rmi`: remove images."""

from __future__ import annotations

from groundplane.cli.api import Api, Pending
from groundplane.cli.each import for_each
from groundplane.cli.options import Command, flag
from groundplane.cli.place import Place

OPTIONS = (flag("force", "f", "Force removal of the image"), flag("no-prune", "", "Do not delete untagged parents"))
COMMAND = Command("rmi", "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images", OPTIONS, minimum=1)


def run(args: list[str], place: Place, command: Command = COMMAND) -> int:
    if (given := command.parse(args)) is None:
        return 0
    api = Api(place)
    query = {"force": "1" if given.on("force") else ""}

    def answer(_: str, pending: Pending) -> str:
        return "\n".join(f"{key}: {value}" for line in pending.json() for key, value in line.items())

    return for_each(given.words, lambda name: api.send("DELETE", f"/images/{name}", query), answer)
