"""`ground down`: end everything that runs; with --purge, remove every trace of this instance from the host."""

from __future__ import annotations

import os
import sys
import time

from groundplane.base.errors import GroundError
from groundplane.cli.api import Api, EngineDown
from groundplane.cli.options import Command, flag
from groundplane.cli.place import Place

COMMAND = Command(
    "down",
    "[OPTIONS]",
    "Take the platform down: end all containers and pods, remove their network, stop the daemon.",
    (flag("purge", "", "Remove all state too: cluster, images, volumes, certificates, logs"),),
    maximum=0,
    note="Without --purge the state stays, and `ground up` goes on where it was. hostPath directories always stay.",
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    from groundplane.daemon import leaving  # late: only this verb needs it

    started = time.monotonic()
    settings = place.settings()
    if os.geteuid() != 0:
        raise GroundError("taking the platform down needs root: run it with sudo")
    if leaving.needs_daemon(settings):
        Api(place).json("POST", "/ground/down")
    else:
        try:
            Api(place, start=False).json("POST", "/ground/down")
        except EngineDown:
            if not parsed.on("purge"):
                sys.stdout.write("Nothing runs here.\n")
                return 0
    leaving.await_end(settings)
    if parsed.on("purge"):
        leaving.purge(settings)
    what = "down, and nothing of it is left" if parsed.on("purge") else f"down; its state stays in {settings.root}"
    sys.stdout.write(f"Groundplane is {what} ({time.monotonic() - started:.2f} s)\n")
    return 0
