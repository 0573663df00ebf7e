"""`ground inspect`: the whole document of containers or images."""

from __future__ import annotations

import sys

from groundplane.cli.api import Api, ApiError
from groundplane.cli.options import Command, Option, flag, text
from groundplane.cli.place import Place
from groundplane.cli.tables import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT: tuple[Option, ...] = (text("format", "f", "string", "Format output: json, or a Go template"),)
COMMAND = Command(
    "inspect",
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on containers or images",
    (
        *_FORMAT,
        flag("size", "s", "Display total file sizes if the type is container"),
        text("type", "", "string", "Only inspect objects of the given type: container or image"),
    ),
    minimum=1,
)
_KINDS = ("container", "image")


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    kinds = (given.text("type"),) if given.text("type") else _KINDS
    return inspect(Api(place), given.words, kinds, given.text("format"), size=given.on("size"))


def inspect(api: Api, names: list[str], kinds: tuple[str, ...], form: str, *, size: bool = False) -> int:
    """Print what was found, in the order of the names; an error line for each that was not."""
    found: list[Any] = []
    errors: list[str] = []
    for name in names:
        try:
            found.append(_find(api, name, kinds, size="1" if size else ""))
        except ApiError as error:
            errors.append(str(error) if len(kinds) == 1 else f"Error: No such object: {name}")
    show(_shown(found, form))
    sys.stdout.flush()
    for line in errors:
        sys.stderr.write(f"{line}\n")
    return 1 if errors else 0


def _find(api: Api, name: str, kinds: tuple[str, ...], size: str) -> Any:
    for kind in kinds:
        try:
            return api.json("GET", f"/{kind}s/{name}/json", {"size": size})
        except ApiError as error:
            if error.status not in (400, 404) or kind == kinds[-1]:
                raise
    raise AssertionError("no kinds")


def _shown(found: list[Any], form: str) -> str:
    import json

    if not form:
        return json.dumps(found, indent=4, ensure_ascii=False) + "\n"
    if form == "json":
        return json.dumps(found, separators=(",", ":"), ensure_ascii=False) + "\n"
    from groundplane.cli.template import Template

    template = Template(form.replace("\\t", "\t").replace("\\n", "\n"))
    return "".join(template.render(document) + "\n" for document in found)
