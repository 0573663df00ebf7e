"""`ground image from-host`: the words of the command line as one request; all paths made absolute here."""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import UsageError
from groundplane.cli.api import Api
from groundplane.cli.container_flags import environment
from groundplane.cli.options import Command, FlagError, flag, many, text
from groundplane.cli.place import Place
from groundplane.cli.tables import show

COMMAND = Command(
    "image from-host",
    "[OPTIONS] --name NAME PROGRAM [PROGRAM...]",
    "Make an image of programs of this host: with interpreter, shared libraries, certificates",
    (
        many("add", "", "SRC:DST", "Add a file or directory of this host"),
        text("cmd", "", "string", "Default command, as words or a JSON list (default: the first program)"),
        text("entrypoint", "", "string", "Entrypoint, as words or a JSON list"),
        many("env", "e", "", "Set environment variables"),
        many("env-file", "", "", "Read in a file of environment variables"),
        many("expose", "", "port", "Declare a port (8080 or 53/udp)"),
        many("label", "l", "", "Set meta data on the image"),
        text("name", "", "string", "Name of the image"),
        flag("quiet", "q", "Print the image ID only"),
        text("user", "u", "string", "Default user (format: <name|uid>[:<group|gid>])"),
        text("workdir", "w", "string", "Default working directory"),
    ),
    minimum=1,
    aliases={"tag": "name"},
    note=(
        "A program is a name found in PATH, or a path; it has the same path in the image. Python comes with its\n"
        "standard library; packages of a virtual environment only with --add. Equal files give the equal image."
    ),
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    if not given.text("name"):
        raise FlagError(f"ground: --name is missing\n\nUsage:  {COMMAND.line}")
    body = {
        "name": given.text("name"),
        "programs": [_program(word) for word in given.words],
        "adds": [_add(word) for word in given.many("add")],
        "env": dict(pair.partition("=")[::2] for pair in environment(given)),
        "entrypoint": _words(given.text("entrypoint"), "--entrypoint"),
        "command": _words(given.text("cmd"), "--cmd"),
        "working_dir": given.text("workdir"),
        "user": given.text("user"),
        "labels": dict(pair.partition("=")[::2] for pair in given.many("label")),
        "exposed_ports": given.many("expose"),
        "search_path": os.environ.get("PATH", ""),
        "source_date_epoch": _epoch(),
    }
    made = Api(place).json("POST", "/ground/images/from-host", None, body)
    for warning in made["warnings"]:
        sys.stderr.write(f"WARNING: {warning}\n")
    show(f"{made['id']}\n")
    return 0


def _program(word: str) -> str:
    """The program's absolute path: by PATH, or relative to the directory we are in."""
    if "/" in word:
        return os.path.abspath(word)
    for directory in os.environ.get("PATH", "").split(":"):
        path = os.path.join(directory or ".", word)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            found = _behind_shim(path, word)
            if found:
                return os.path.abspath(found)
    raise UsageError(f"ground: {word}: no such program in PATH")


def _behind_shim(path: str, name: str) -> str:
    """pyenv's shims are scripts that start what a version's `bin` has; empty where the shim leads nowhere."""
    shims = os.path.dirname(path)
    root = os.path.dirname(shims)
    if os.path.basename(shims) != "shims" or not os.path.isdir(f"{root}/versions"):
        return path
    for version in _pyenv_versions(root):
        candidate = f"{root}/versions/{version}/bin/{name}"
        if os.access(candidate, os.X_OK):
            return candidate
    return ""


def _pyenv_versions(root: str) -> list[str]:
    """In pyenv's order: $PYENV_VERSION, the nearest .python-version, the global version."""
    if chosen := os.environ.get("PYENV_VERSION"):
        return chosen.split(":")
    directory = os.getcwd()
    candidates = []
    while True:
        candidates.append(os.path.join(directory, ".python-version"))
        if directory == "/":
            break
        directory = os.path.dirname(directory)
    for path in (*candidates, f"{root}/version"):
        try:
            with open(path, encoding="utf-8") as f:
                return f.read().split()
        except OSError:
            continue
    return []


def _add(word: str) -> dict[str, str]:
    source, colon, destination = word.rpartition(":")
    if not colon or not source or not destination:
        raise FlagError(f"ground: --add {word}: SRC:DST expected")
    if not source.startswith("/") and os.path.normpath(source).startswith(".."):
        raise FlagError(
            f"ground: --add {word}: {source} leads out of this directory; give its absolute path if you mean it"
        )
    absolute = os.path.abspath(source)
    # A slash at the end says "into the directory", also for the destination's name.
    return {"source": absolute, "destination": destination}


def _words(text: str, name: str) -> list[str]:
    """`["a", "b"]`, or words as a shell splits them."""
    if not text:
        return []
    if text.startswith("["):
        import json

        try:
            words = json.loads(text)
        except ValueError as error:
            raise FlagError(f"ground: {name} {text}: not a JSON list: {error}") from None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise FlagError(f"ground: {name} {text}: a JSON list of strings expected")
        return words
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise FlagError(f"ground: {name} {text}: {error}") from None


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"ground: SOURCE_DATE_EPOCH={text}: a whole number of seconds expected") from None
