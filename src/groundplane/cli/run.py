"""`ground run`: create, attach, start, and wait for the exit code."""

from __future__ import annotations

import sys

from groundplane.base.errors import GroundError
from groundplane.base.quickjson import decode
from groundplane.cli.api import Api, ApiError
from groundplane.cli.container_flags import ALIASES, CREATE_OPTIONS, NOTE, create_body
from groundplane.cli.create import CannotRun, create_container
from groundplane.cli.options import Command, FlagError, Parsed, flag
from groundplane.cli.place import Place

COMMAND = Command(
    "run",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    (
        *CREATE_OPTIONS,
        flag("detach", "d", "Run container in background and print container ID"),
        flag("sig-proxy", "", "Proxy received signals to the process (true unless --sig-proxy=false)"),
    ),
    minimum=1,
    interspersed=False,
    aliases=ALIASES,
    note=NOTE,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    detached = given.on("detach")
    if detached and given.many("attach"):
        raise FlagError("ground: conflicting options: cannot specify both --attach and --detach")
    if given.on("tty") and given.on("interactive") and not detached and not sys.stdin.isatty():
        raise CannotRun("the input device is not a TTY")
    api = Api(place)
    id = create_container(api, given.text("name"), create_body(given, attached=not detached), given.text("cidfile"))
    if detached:
        start_container(api, id)
        sys.stdout.write(f"{id}\n")
        return 0
    return _foreground(api, id, given)


def _foreground(api: Api, id: str, given: Parsed) -> int:
    from groundplane.cli.streams import Attached

    tty, stdin = given.on("tty"), given.on("interactive")
    streams = [word.lower() for word in given.many("attach")] or ["stdin", "stdout", "stderr"]
    query = dict.fromkeys(["stream", *(name for name in ("stdout", "stderr") if name in streams)], "1")
    if stdin and "stdin" in streams:
        query["stdin"] = "1"
    connection, rest = api.open("POST", f"/containers/{id}/attach", query, upgrade=True).hijack()
    # Before the start, so that no exit is missed; `removed` also where --rm takes the container away at its end.
    condition = "removed" if given.on("rm") else "next-exit"
    exit = api.send("POST", f"/containers/{id}/wait", {"condition": condition})
    answer = exit.response()  # its head says that the engine watches
    try:
        start_container(api, id)
    except GroundError:
        connection.close()
        answer.close()
        raise
    proxied = "sig-proxy" not in given.given or given.on("sig-proxy")

    def forward(name: str) -> None:
        _quietly(api, f"/containers/{id}/kill", {"signal": name})

    attached = Attached(
        connection,
        rest,
        tty=tty,
        stdin="stdin" in query,
        resize=lambda rows, columns: _quietly(api, f"/containers/{id}/resize", {"h": str(rows), "w": str(columns)}),
        forward=forward if proxied and not tty else None,
    )
    if not attached.pump():
        answer.close()
        return 0  # detached by its keys; the container goes on
    code: int = decode(answer.first_line())["StatusCode"]
    return code


def start_container(api: Api, id: str) -> None:
    """Start it. Raises CannotRun with docker's exit codes: 127 not found, 126 not executable, 125 everything else."""
    try:
        api.open("POST", f"/containers/{id}/start").close()
    except ApiError as error:
        wrapped = CannotRun(f"ground: {error}\n\nRun 'ground run --help' for more information")
        words = error.message.lower()
        if "executable file not found" in words or "no such file or directory" in words:
            wrapped.exit_code = 127
        elif "permission denied" in words or "is a directory" in words:
            wrapped.exit_code = 126
        raise wrapped from error


def _quietly(api: Api, path: str, query: dict[str, str]) -> None:
    """A resize or a forwarded signal may come when the container has just ended: nothing to say about that."""
    try:
        api.open("POST", path, query).close()
    except GroundError:
        pass
