"""`ground status`: what of the platform runs here."""

from __future__ import annotations

import json
import sys

from groundplane.base.errors import UsageError
from groundplane.cli.api import Api, EngineDown
from groundplane.cli.options import Command, text
from groundplane.cli.place import Place

COMMAND = Command(
    "status",
    "[OPTIONS]",
    "Show which roles run here, and where their API, socket, state and log are.",
    (text("format", "", "format", "Output: text or json", "text"),),
    maximum=0,
)
_ROWS = (
    ("Roles", "roles"), ("Problem", "problem"), ("Node", "node"),
    ("Address", "address"), ("Ready", "ready"), ("Pods", "pods"),
    ("Containers", "containers"), ("Images", "images"), ("Kubernetes API", "api"), ("Kubeconfig", "kubeconfig"),
    ("Engine socket", "socket"), ("State", "root"), ("Log", "log"), ("Daemon's pid", "pid"), ("Version", "version"),
)  # fmt: skip


def run(args: list[str], place: Place) -> int:
    """Exit code 3 where nothing runs, as service managers have it (LSB, status action)."""
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    wanted = parsed.text("format")
    if wanted not in ("text", "json"):
        raise UsageError(f"format {wanted!r} is not known; use text or json")
    try:
        status = Api(place, start=False).json("GET", "/ground/status")
    except EngineDown as error:
        sys.stdout.write('{"roles": []}\n' if wanted == "json" else f"Not running: {error}\n")
        return 3
    if wanted == "json":
        sys.stdout.write(json.dumps(status) + "\n")
        return 0
    for title, key in _ROWS:
        value = status[key]
        shown = (
            ", ".join(value)
            if isinstance(value, list)
            else ("yes" if value is True else "no" if value is False else value)
        )
        if shown != "":
            sys.stdout.write(f"{title + ':':<16}{shown}\n")
    return 0
