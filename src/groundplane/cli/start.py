"""`ground start`: start stopped containers, or one with its output attached."""

from __future__ import annotations

from groundplane.base.quickjson import decode
from groundplane.cli.api import Api, ApiError
from groundplane.cli.each import for_each
from groundplane.cli.options import ArgumentError, Command, flag
from groundplane.cli.place import Place

COMMAND = Command(
    "start",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
    (
        flag("attach", "a", "Attach STDOUT/STDERR and forward signals"),
        flag("interactive", "i", "Attach container's STDIN"),
    ),
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    api = Api(place)
    if not given.on("attach") and not given.on("interactive"):
        return for_each(given.words, lambda name: api.send("POST", f"/containers/{name}/start"))
    if len(given.words) > 1:
        raise ArgumentError("ground: you cannot start and attach multiple containers at once")
    return _attached(api, given.words[0], stdin=given.on("interactive"))


def _attached(api: Api, name: str, *, stdin: bool) -> int:
    from groundplane.cli.streams import Attached

    info = api.json("GET", f"/containers/{name}/json")
    id: str = info["Id"]
    query = {"stream": "1", "stdout": "1", "stderr": "1", "stdin": "1" if stdin and info["Config"]["OpenStdin"] else ""}
    connection, rest = api.open("POST", f"/containers/{id}/attach", query, upgrade=True).hijack()
    answer = api.send("POST", f"/containers/{id}/wait", {"condition": "next-exit"}).response()
    try:
        api.open("POST", f"/containers/{id}/start").close()
    except ApiError:
        connection.close()
        answer.close()
        raise
    if not Attached(connection, rest, tty=info["Config"]["Tty"], stdin=bool(query["stdin"])).pump():
        return 0
    code: int = decode(answer.first_line())["StatusCode"]
    return code
