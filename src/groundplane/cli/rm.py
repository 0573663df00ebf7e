"""`ground rm`: remove containers."""

from __future__ import annotations

from groundplane.cli.api import Api, ApiError, Pending
from groundplane.cli.each import for_each
from groundplane.cli.options import Command, flag
from groundplane.cli.place import Place

COMMAND = Command(
    "rm",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove one or more containers",
    (
        flag("force", "f", "Force the removal of a running container (uses SIGKILL)"),
        flag("volumes", "v", "Remove anonymous volumes associated with the container"),
    ),
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    api = Api(place)
    force = given.on("force")

    def ask(name: str) -> Pending:
        return api.send("DELETE", f"/containers/{name}", {"force": "1" if force else "", "v": "1"})

    def answer(_: str, pending: Pending) -> None:
        try:
            pending.done()
        except ApiError as error:
            if not (force and error.status == 404):  # docker: rm -f of what is not there is no failure
                raise

    return for_each(given.words, ask, answer)
