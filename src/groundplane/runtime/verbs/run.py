"""`run`: create, start, and, unless detached, stay until it ends and clear it away."""

from __future__ import annotations

from groundplane.kernel.calls.process import set_child_subreaper
from groundplane.runtime import launch, protect
from groundplane.runtime.hooks import run_poststart
from groundplane.runtime.state import Store
from groundplane.runtime.verbs import creation, readiness
from groundplane.runtime.verbs.ending import clear
from groundplane.runtime.verbs.foreground import attend, stay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def run(given: Parsed, globals: Globals) -> int:
    (id,) = given.words
    detach = given.switch("detach")
    store = Store(globals.root)
    store.directory(id)
    bundle = creation.Bundle(given, detach=detach)
    trampoline = protect.trampoline(bundle.config, 3 + len(bundle.keep))
    cgroup = creation.choose_cgroup(globals, bundle.config, id)
    directory = store.reserve(id)
    if not detach and not given.switch("no-subreaper"):
        set_child_subreaper()
    created = None
    try:
        creation.store_container(store, directory, id, bundle, cgroup, 0)
        readiness.offer(bundle.config, directory)
        created = launch.create(
            bundle.config,
            bundle=bundle.directory,
            id=id,
            stdio=(0, 1, 2),
            cgroup=cgroup,
            console=bundle.terminal,
            keep_fds=bundle.keep,
            keyring=not given.switch("no-new-keyring"),
            pivot=not given.switch("no-pivot"),
            trampoline=trampoline,
        )
        creation.warn(globals, created.warnings)
        if detach:
            creation.hand_over_console(bundle.console_socket, created.console_fd)
        creation.store_container(store, directory, id, bundle, cgroup, created.pid)
        creation.hand_over_pidfd(given.value("pidfd-socket"), created.pidfd)
        creation.write_pid_file(given.value("pid-file"), created.pid)
        globals.log.debug(f"container {id}: init is process {created.pid}, is set up and waits")
        if not detach:
            attend(created)
        relay = readiness.listen(directory)
        created.start()
        run_poststart(bundle.config, bundle=bundle.directory, id=id, pid=created.pid)
        if relay:
            relay.wait(created.pidfd, created.pid) if detach else relay.wait_beside(created.pidfd)
            relay.close()
    except BaseException:
        creation.undo(store, id, created, bundle, cgroup)
        raise
    if detach:
        return 0
    code = stay(created)
    if not given.switch("keep"):
        creation.warn(globals, clear(store, store.load(id)))
    return code
