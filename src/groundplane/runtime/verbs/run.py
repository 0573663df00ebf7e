"""`run`: create, start, and, unless detached, stay until it ends and clear it away."""

from __future__ import annotations

from groundplane.kernel.calls.process import set_child_subreaper
from groundplane.runtime.hooks import run_poststart
from groundplane.runtime.verbs import creation, readiness
from groundplane.runtime.verbs.ending import clear
from groundplane.runtime.verbs.foreground import attend, stay
from groundplane.runtime.verbs.making import Making

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def run(given: Parsed, globals: Globals) -> int:
    detach = given.switch("detach")
    making = Making(given, globals, detach=detach)
    if not detach and not given.switch("no-subreaper"):
        set_child_subreaper()
    try:
        making.prepare()
        created = making.launch()
        if not detach:
            attend(created)
        relay = readiness.listen(making.directory)
        created.start()
        run_poststart(making.bundle.config, bundle=making.bundle.directory, id=making.id, pid=created.pid)
        if relay:
            relay.wait(created.pidfd, created.pid) if detach else relay.wait_beside(created.pidfd)
            relay.close()
    except BaseException:
        making.undo()
        raise
    if detach:
        return 0
    code = stay(created)
    if not given.switch("keep"):
        creation.warn(globals, clear(making.store, making.store.load(making.id)))
    return code
