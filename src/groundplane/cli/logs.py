"""`ground logs`: what a container wrote."""

from __future__ import annotations

import time

from groundplane.cli.api import Api
from groundplane.cli.options import Command, flag, text
from groundplane.cli.place import Place
from groundplane.cli.units import BadValue
from groundplane.wire.dockerstream import STDERR, FrameDecoder

COMMAND = Command(
    "logs",
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
    (
        flag("follow", "f", "Follow log output"),
        text("since", "", "string", "Show logs since timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m)"),
        text("tail", "n", "string", "Number of lines to show from the end of the logs", "all"),
        flag("timestamps", "t", "Show timestamps"),
        text("until", "", "string", "Show logs before a timestamp or relative (e.g. 42m)"),
    ),
    minimum=1,
    maximum=1,
)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "ms": 0.001}


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    from groundplane.cli.streams import write_all

    api = Api(place)
    query = {
        "stdout": "1",
        "stderr": "1",
        "follow": "1" if given.on("follow") else "",
        "timestamps": "1" if given.on("timestamps") else "",
        "tail": given.text("tail"),
        "since": moment(given.text("since")),
        "until": moment(given.text("until")),
    }
    response = api.open("GET", f"/containers/{given.words[0]}/logs", query)
    raw = response.headers.get("content-type", "") == "application/vnd.docker.raw-stream"
    decoder = FrameDecoder()
    for piece in response.pieces():
        for stream, data in [(1, piece)] if raw else decoder.feed(piece):
            write_all(2 if stream == STDERR else 1, data)
    return 0


def moment(text: str) -> str:
    """An RFC 3339 time, a number of seconds, or how long ago (`1h30m`), as the API takes it. Raises BadValue."""
    if not text or text.replace(".", "", 1).isdigit() or "T" in text or text.count("-") == 2:
        return f"{text}T00:00:00Z" if text.count("-") == 2 and "T" not in text else text
    import re

    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smh])", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise BadValue(f'ground: invalid value: "{text}" is neither a time nor a duration')
    return f"{time.time() - sum(float(number) * _SECONDS[unit] for number, unit in parts):.9f}"
