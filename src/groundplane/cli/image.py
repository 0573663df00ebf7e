"""`ground image …`: the verbs about images, and `from-host`, which makes one of this host's own programs."""

from __future__ import annotations

import sys

from groundplane.base.errors import UsageError
from groundplane.cli import images, inspect, rmi
from groundplane.cli.api import Api
from groundplane.cli.options import Command, text
from groundplane.cli.place import Place

_LS = Command("image ls", "[OPTIONS] [REPOSITORY[:TAG]]", "List images", images.OPTIONS, maximum=1)
_RM = Command("image rm", "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images", rmi.OPTIONS, minimum=1)
_INSPECT = Command(
    "image inspect",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Display detailed information on one or more images",
    (text("format", "f", "string", "Format output: json, or a Go template"),),
    minimum=1,
)
_TAG = Command("image tag", "SOURCE TARGET", "Give an image another name", minimum=2, maximum=2)
_SUMMARIES = {
    "from-host": "Make an image of programs of this host",
    "inspect": _INSPECT.summary,
    "ls": _LS.summary,
    "rm": _RM.summary,
    "tag": _TAG.summary,
}


def run(args: list[str], place: Place) -> int:
    if not args or args[0] in ("--help", "-h"):
        rows = "".join(f"  {name:<11}{summary}\n" for name, summary in _SUMMARIES.items())
        sys.stdout.write(f"\nUsage:  ground image COMMAND\n\nManage images\n\nCommands:\n{rows}")
        return 0
    verb, rest = args[0], args[1:]
    if verb == "from-host":
        from groundplane.cli import from_host

        return from_host.run(rest, place)
    if verb in ("ls", "list"):
        return images.run(rest, place, _LS)
    if verb in ("rm", "remove"):
        return rmi.run(rest, place, _RM)
    if verb == "inspect":
        if (given := _INSPECT.parse(rest)) is None:
            return 0
        return inspect.inspect(Api(place), given.words, ("image",), given.text("format"))
    if verb == "tag":
        return _tag(rest, place)
    raise UsageError(f"ground: '{verb}' is not a ground image command.\nSee 'ground image --help'")


def _tag(args: list[str], place: Place) -> int:
    if (given := _TAG.parse(args)) is None:
        return 0
    source, target = given.words
    # A colon behind the last slash begins the tag; one before it is a registry's port.
    repository, colon, tag = target.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = target, ""
    Api(place).open("POST", f"/images/{source}/tag", {"repo": repository, "tag": tag}).close()
    return 0
