"""`ground exec`: a command beside a container's own process."""

from __future__ import annotations

import sys

from groundplane.base.errors import GroundError
from groundplane.cli.api import Api
from groundplane.cli.container_flags import environment
from groundplane.cli.options import Command, flag, many, text
from groundplane.cli.place import Place

COMMAND = Command(
    "exec",
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    (
        flag("detach", "d", "Detached mode: run command in the background"),
        many("env", "e", "", "Set environment variables"),
        many("env-file", "", "", "Read in a file of environment variables"),
        flag("interactive", "i", "Keep STDIN open even if not attached"),
        flag("privileged", "", "Give extended privileges to the command"),
        flag("tty", "t", "Allocate a pseudo-TTY"),
        text("user", "u", "string", "Username or UID (format: <name|uid>[:<group|gid>])"),
        text("workdir", "w", "string", "Working directory inside the container"),
    ),
    minimum=2,
    interspersed=False,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    name, *command = given.words
    detached, tty, interactive = given.on("detach"), given.on("tty"), given.on("interactive")
    if tty and interactive and not detached and not sys.stdin.isatty():
        raise GroundError("the input device is not a TTY")
    api = Api(place)
    body = {
        "AttachStdin": interactive and not detached,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Tty": tty,
        "Cmd": command,
        "Env": environment(given),
        "User": given.text("user"),
        "WorkingDir": given.text("workdir"),
        "Privileged": given.on("privileged"),
    }
    id = api.json("POST", f"/containers/{name}/exec", None, body)["Id"]
    if detached:
        api.open("POST", f"/exec/{id}/start", None, {"Detach": True, "Tty": tty}).close()
        return 0
    return _attached(api, id, tty=tty, stdin=interactive)


def _attached(api: Api, id: str, *, tty: bool, stdin: bool) -> int:
    from groundplane.cli.streams import Attached

    def resize(rows: int, columns: int) -> None:
        try:
            api.open("POST", f"/exec/{id}/resize", {"h": str(rows), "w": str(columns)}).close()
        except GroundError:
            pass  # it ended meanwhile

    start = api.open("POST", f"/exec/{id}/start", None, {"Detach": False, "Tty": tty}, upgrade=True)
    connection, rest = start.hijack()
    if not Attached(connection, rest, tty=tty, stdin=stdin, resize=resize).pump():
        return 0
    code = api.json("GET", f"/exec/{id}/json")["ExitCode"]
    return int(code) if code is not None else 0
