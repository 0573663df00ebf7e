"""`ground version`: this program's, and the engine's where one runs; starts none."""

from __future__ import annotations

from groundplane import __version__
from groundplane.base.errors import GroundError
from groundplane.cli.api import Api
from groundplane.cli.options import Command, flag, text
from groundplane.cli.place import Place
from groundplane.cli.tables import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "version",
    "[OPTIONS]",
    "Show the version information",
    (
        text("format", "f", "string", "Format output: json, or a Go template"),
        flag("short", "", "One line; do not ask the engine"),
    ),
    maximum=0,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    if given.on("short"):
        show(f"ground version {__version__}\n")
        return 0
    import os

    host = os.uname()
    client = {"Version": __version__, "ApiVersion": "1.47", "Os": "linux", "Arch": host.machine}
    try:
        server = Api(place, start=False).json("GET", "/version")
    except GroundError:
        server = None
    form = given.text("format")
    if form:
        show(_formatted({"Client": client, "Server": server}, form))
        return 0
    lines = ["Client:", *_lines(client), "", "Server:"]
    lines += _lines(server) if server else ["  not running (started by the first command that needs it)"]
    show("\n".join(lines) + "\n")
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    names = {"Version": "Version", "ApiVersion": "API version", "Os": "OS", "Arch": "Arch", "KernelVersion": "Kernel"}
    return [f"  {shown + ':':<13}{found[name]}" for name, shown in names.items() if name in found]


def _formatted(document: dict[str, Any], form: str) -> str:
    if form == "json":
        import json

        return json.dumps(document) + "\n"
    from groundplane.cli.template import Template

    return Template(form).render(document) + "\n"
