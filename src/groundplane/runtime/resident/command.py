"""How a spawner is started: its command line, for the `ground` command and for a daemon whose spawner has died."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM = (
    "import sys; sys.path.insert(0, {source!r}); from groundplane.runtime.resident.main import main; sys.exit(main())"
)


def spawner_argv(run_dir: str, daemon: Sequence[str] = (), *, ready_fd: int = -1) -> list[str]:
    """The command line of a spawner for `run_dir` that keeps `daemon` running (none: it only spawns).

    Isolated and without site-packages (-I -S), because each module that is not imported is memory that no container
    pays. `ready_fd` is a descriptor that the first daemon inherits; its number is in the daemon's GROUND_READY_FD. An
    engine that starts a spawner in place of a dead one adds `--daemon PID:TICKS` before the `--`, so that the new one
    keeps that daemon instead of starting another.
    """
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM.format(source=source), "--run", run_dir]
    if ready_fd >= 0:
        argv += ["--ready-fd", str(ready_fd)]
    return [*argv, "--", *daemon] if daemon else argv
