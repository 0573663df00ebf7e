"""`ground create`: a container, not started."""

from __future__ import annotations

import sys

from groundplane.base.errors import GroundError
from groundplane.cli.api import Api, ApiError
from groundplane.cli.container_flags import ALIASES, CREATE_OPTIONS, NOTE, create_body
from groundplane.cli.options import Command, FlagError
from groundplane.cli.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "create",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
    CREATE_OPTIONS,
    minimum=1,
    interspersed=False,
    aliases=ALIASES,
    note=NOTE,
)


class CannotRun(GroundError):
    """The container could not be created or started; docker's exit code for that."""

    exit_code = 125


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    body = create_body(given, attached=True)
    id = create_container(Api(place), given.text("name"), body, given.text("cidfile"))
    sys.stdout.write(f"{id}\n")
    return 0


def create_container(api: Api, name: str, body: dict[str, Any], id_file: str) -> str:
    """Create it; its id. Raises CannotRun."""
    import os

    if id_file and os.path.exists(id_file):
        raise FlagError(
            f"ground: container ID file found, make sure the other container isn't running or delete {id_file}"
        )
    try:
        made = api.json("POST", "/containers/create", {"name": name}, body)
    except ApiError as error:
        if error.status == 404 and error.message.startswith("No such image"):
            raise CannotRun(
                f"Unable to find image '{body['Image']}' locally\n"
                "ground: registries are not offered yet: make the image of this host's programs with "
                "`ground image from-host --name NAME PROGRAM…`; `ground images` lists what is here"
            ) from error
        raise CannotRun(f"ground: {error}\n\nRun 'ground run --help' for more information") from error
    id: str = made["Id"]
    for warning in made.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    if id_file:
        with open(id_file, "w", encoding="ascii") as f:
            f.write(id)
    return id
