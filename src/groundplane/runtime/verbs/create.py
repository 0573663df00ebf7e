"""`create`: everything up to the container's program; its init then waits behind two named pipes for `start`."""

from __future__ import annotations

import os

from groundplane.runtime.verbs.making import Making

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def create(given: Parsed, globals: Globals) -> int:
    making = Making(given, globals, detach=True)
    try:
        making.prepare()
        gate = _make_gate(making.directory)
        try:
            created = making.launch(gate)
        finally:
            for fd in gate:
                os.close(fd)
    except BaseException:
        making.undo()
        raise
    created.detach()
    return 0


def _make_gate(directory: str) -> tuple[int, int]:
    """exec.fifo and exec.reply, opened for reading and writing, so that neither open waits for the other side."""
    descriptors = []
    for name in ("exec.fifo", "exec.reply"):
        os.mkfifo(f"{directory}/{name}", 0o600)
        descriptors.append(os.open(f"{directory}/{name}", os.O_RDWR | os.O_CLOEXEC))
    return descriptors[0], descriptors[1]
