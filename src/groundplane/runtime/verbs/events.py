"""`events`: a container's statistics every few seconds, and each time it ran out of memory, as lines of JSON."""

from __future__ import annotations

import json
import re
import time

from groundplane.base.errors import GroundError, UsageError
from groundplane.runtime import statistics
from groundplane.runtime.state import Store
from groundplane.runtime.verbs.showing import groups_for
from groundplane.runtime.wording import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.contract import Groups
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals
    from groundplane.runtime.state import Container

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def events(given: Parsed, globals: Globals) -> int:
    interval = duration(given.value("interval", "5s"))
    container = Store(globals.root).load(given.words[0])
    if interval <= 0:
        raise GroundError("duration interval must be greater than 0")
    if container.status() in ("creating", "stopped"):
        raise GroundError(f"container with id {container.id} is not running")
    groups = groups_for(container, "watch")
    try:
        if given.switch("stats"):
            _print_statistics(groups, container)
        else:
            _follow(groups, container, interval, globals)
    except BrokenPipeError:
        return 1  # nobody listens any more
    return 0


def duration(text: str) -> float:
    """Go's `1m30s`, `100ms`, `1.5h` in seconds. Raises UsageError, as runc's flags do."""
    parts = re.findall(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)", text)
    sign = -1 if text.startswith("-") else 1
    if text.lstrip("+-") == "0":
        return 0.0
    if not parts or "".join(n + u for n, u in parts) != text.removeprefix("-").removeprefix("+"):
        raise UsageError(f'invalid value "{text}" for flag -interval: parse error')
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)


def _print_statistics(groups: Groups, container: Container) -> None:
    data = statistics.document(groups.usage(container.cgroup))
    _print({"type": "stats", "id": container.id, "data": data})


def _print(event: dict[str, object]) -> None:
    print(json.dumps(event, separators=(",", ":")), flush=True)


def _follow(groups: Groups, container: Container, interval: float, globals: Globals) -> None:
    """Until the container's memory cannot be watched any more: its group is gone, or empty on version 2."""
    watch = groups.watch_oom(container.cgroup)
    try:
        due = time.monotonic() + interval
        while (happened := watch.wait(max(0.0, due - time.monotonic()))) is not None:
            for _ in range(happened):
                _print({"type": "oom", "id": container.id})
            if time.monotonic() < due:
                continue
            due += interval
            try:
                _print_statistics(groups, container)
            except GroundError as error:
                globals.log.error(words(error))
    finally:
        watch.close()
