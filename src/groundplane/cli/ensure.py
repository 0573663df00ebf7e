"""The engine's start on demand, and the words that are shown while it takes longer than usual."""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import GroundError
from groundplane.cli.place import Place


def ensure_engine(place: Place) -> None:
    """Start the engine of this instance unless somebody does so at this moment; returns once it answers.

    The start lock, the detached spawner and the wait for readiness are the daemon's (`daemon.starting`). Raises
    GroundError with the reason and the place of the log.
    """
    if os.geteuid() != 0:
        raise GroundError(
            f"no engine is running here ({place.socket}), and starting one needs root: run the command with sudo"
        )
    from groundplane.daemon.starting import start

    start(place.settings(), report=_report if sys.stderr.isatty() else _silent)


def _report(words: str) -> None:
    sys.stderr.write(f"engine: {words}\n")


def _silent(words: str) -> None:
    del words
