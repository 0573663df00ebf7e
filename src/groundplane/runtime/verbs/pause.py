"""`pause`: freeze the container's cgroup."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.runtime.state import Store, locked
from groundplane.runtime.verbs.showing import groups_for, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def pause(given: Parsed, globals: Globals) -> int:
    store = Store(globals.root)
    with locked(store.directory(given.words[0])):
        container = store.load(given.words[0])
        if status_of(container) not in ("created", "running"):
            raise GroundError("container not running")
        groups_for(container, "pause").freeze(container.cgroup)
    return 0
