"""`ps`: the processes of the container's cgroup, as the host's ps(1) shows them or as JSON."""

from __future__ import annotations

import subprocess
import sys

from groundplane.base.errors import GroundError
from groundplane.runtime.state import Store
from groundplane.runtime.verbs.showing import groups_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def ps(given: Parsed, globals: Globals) -> int:
    id, *options = given.words
    container = Store(globals.root).load(id)
    pids = groups_for(container, "look into").processes(container.cgroup)
    form = given.value("format", "table")
    if form == "json":
        print(f"[{','.join(map(str, pids))}]" if pids else "null")  # Go's nil slice
        return 0
    if form != "table":
        raise GroundError("invalid format option")
    text = "".join(f"{line}\n" for line in select(_host_ps(options or ["-ef"]), pids))
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
    return 0


def select(output: str, pids: Collection[int]) -> list[str]:
    """The heading of ps(1)'s output and the lines of those processes. Raises GroundError."""
    heading, *lines = output.split("\n")  # and nothing else that splitlines() takes for an end of line
    columns = heading.split()
    if "PID" not in columns:
        raise GroundError("couldn't find PID field in ps output")
    column = columns.index("PID")
    wanted = {str(pid) for pid in pids}
    return [heading, *(line for line in lines if (line.split()[column : column + 1] or [""])[0] in wanted)]


def _host_ps(options: list[str]) -> str:
    try:
        done = subprocess.run(
            ["ps", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="surrogateescape",  # a command line is whatever its process wrote there
            check=False,
        )
    except FileNotFoundError:
        raise GroundError('exec: "ps": executable file not found in $PATH') from None
    if done.returncode:
        raise GroundError(f"exit status {done.returncode}: {done.stdout}")
    return done.stdout
