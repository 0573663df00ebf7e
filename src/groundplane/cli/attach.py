"""`ground attach`: a running container's output, and its input."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.base.quickjson import decode
from groundplane.cli.api import Api
from groundplane.cli.options import Command, flag
from groundplane.cli.place import Place

COMMAND = Command(
    "attach",
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    (flag("no-stdin", "", "Do not attach STDIN"), flag("sig-proxy", "", "Proxy all received signals to the process")),
    minimum=1,
    maximum=1,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    from groundplane.cli.streams import Attached

    api = Api(place)
    info = api.json("GET", f"/containers/{given.words[0]}/json")
    if not info["State"]["Running"]:
        raise GroundError("cannot attach to a stopped container, start it first")
    id, tty = info["Id"], info["Config"]["Tty"]
    stdin = info["Config"]["OpenStdin"] and not given.on("no-stdin")
    query = {"stream": "1", "stdout": "1", "stderr": "1", "stdin": "1" if stdin else ""}
    connection, rest = api.open("POST", f"/containers/{id}/attach", query, upgrade=True).hijack()
    answer = api.send("POST", f"/containers/{id}/wait").response()

    def resize(rows: int, columns: int) -> None:
        api.open("POST", f"/containers/{id}/resize", {"h": str(rows), "w": str(columns)}).close()

    if not Attached(connection, rest, tty=tty, stdin=stdin, resize=resize).pump():
        return 0
    code: int = decode(answer.first_line())["StatusCode"]
    return code
