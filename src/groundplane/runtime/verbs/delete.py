"""`delete`: take a stopped container away: its cgroup with what is left in it, its directory; then poststop hooks."""

from __future__ import annotations

from groundplane.base.errors import GroundError, NotFoundError
from groundplane.runtime.state import Store, locked
from groundplane.runtime.verbs.ending import clear, end
from groundplane.runtime.verbs.showing import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def delete(given: Parsed, globals: Globals) -> int:
    (id,) = given.words
    store = Store(globals.root)
    force = given.switch("force")
    try:
        with locked(store.directory(id)):
            container = store.load(id)
            status = status_of(container)
            if status in ("creating", "running", "paused") and not force:
                raise GroundError(f"cannot delete container {id} that is not stopped: {status}")
            if status in ("created", "running", "paused"):
                end(container)
            warnings = clear(store, container)
    except NotFoundError:
        if not force:
            raise
        store.remove(id)  # what a killed `create` may have left: a directory without a state
        return 0
    for sentence in warnings:
        globals.log.warning(sentence)
    return 0
