"""`kill`: a signal to the container's init, or with --all to everything in its cgroup."""

from __future__ import annotations

import os
import signal

from groundplane.base.errors import GroundError
from groundplane.runtime.arguments import whole_number
from groundplane.runtime.state import Store, has_own_pids
from groundplane.runtime.verbs.ending import send
from groundplane.runtime.verbs.showing import groups_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals
    from groundplane.runtime.state import Container


def kill(given: Parsed, globals: Globals) -> int:
    container = Store(globals.root).load(given.words[0])
    number = signal_number(given.words[1] if len(given.words) > 1 else "SIGTERM")
    if given.switch("all") and not _all_is_init(container, number):
        if container.cgroup or container.status() != "stopped":
            _kill_all(container, number)
        return 0  # where nothing is left to be told, --all is content, as with runc
    # Without a PID namespace of its own the kernel ends only init, and the others would go on as nobody's (runc ≥ 1.2).
    everything = number == signal.SIGKILL and container.cgroup and not has_own_pids(container.config)
    if container.status() not in ("creating", "stopped"):
        send(container, number)
    elif not everything or not groups_for(container, "kill").processes(container.cgroup):
        raise GroundError("container not running")
    if everything:
        _kill_all(container, number)
    return 0


def _all_is_init(container: Container, number: int) -> bool:
    """Whether the kernel ends everything with init, so that no cgroup has to say what there is."""
    running = container.status() not in ("creating", "stopped")
    return not container.cgroup and number == signal.SIGKILL and running and has_own_pids(container.config)


def signal_number(text: str) -> int:
    """`9`, `KILL` or `SIGKILL`; real-time ones as `RTMIN+3`. Raises GroundError."""
    number = whole_number(text)
    if number is not None and 0 <= number < 65:  # the kernel's _NSIG
        return number
    name = text.upper().removeprefix("SIG")
    base, _, offset = name.partition("+")
    more = whole_number(offset or "0")
    if base in ("RTMIN", "RTMAX") and more is not None and 0 <= more < 31:
        return int(signal.Signals[f"SIG{base}"]) + more
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise GroundError(f'unknown signal "{text}"') from None


def _kill_all(container: Container, number: int) -> None:
    groups = groups_for(container, "signal all processes of")
    if number == signal.SIGKILL:
        groups.kill(container.cgroup)
        return
    for pid in groups.processes(container.cgroup):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
