"""`ground stop`: the stop signal, then SIGKILL."""

from __future__ import annotations

from groundplane.cli.api import Api
from groundplane.cli.each import for_each
from groundplane.cli.options import Command, number, text
from groundplane.cli.place import Place

COMMAND = Command(
    "stop",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop one or more running containers",
    (
        number("timeout", "t", "Seconds to wait before killing the container"),
        text("signal", "s", "string", "Signal to send to the container"),
    ),
    minimum=1,
    aliases={"time": "timeout"},
)


def run(args: list[str], place: Place, command: Command = COMMAND, verb: str = "stop") -> int:
    if (given := command.parse(args)) is None:
        return 0
    api = Api(place)
    timeout = given.number("timeout")
    query = {"t": "" if timeout is None else str(timeout), "signal": given.text("signal")}
    return for_each(given.words, lambda name: api.send("POST", f"/containers/{name}/{verb}", query))
