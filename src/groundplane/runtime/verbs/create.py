"""`create`: everything up to the container's program; its init then waits behind two named pipes for `start`."""

from __future__ import annotations

import os

from groundplane.runtime import launch, protect
from groundplane.runtime.state import Store
from groundplane.runtime.verbs import creation, readiness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def create(given: Parsed, globals: Globals) -> int:
    (id,) = given.words
    store = Store(globals.root)
    store.directory(id)
    bundle = creation.Bundle(given, detach=True)
    trampoline = protect.trampoline(bundle.config, 3 + len(bundle.keep))
    cgroup = creation.choose_cgroup(globals, bundle.config, id)
    directory = store.reserve(id)
    created = None
    try:
        creation.store_container(store, directory, id, bundle, cgroup, 0)
        readiness.offer(bundle.config, directory)
        gate = _make_gate(directory)
        try:
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
                gate=gate,
                trampoline=trampoline,
            )
        finally:
            for fd in gate:
                os.close(fd)
        creation.warn(globals, created.warnings)
        creation.hand_over_console(bundle.console_socket, created.console_fd)
        creation.store_container(store, directory, id, bundle, cgroup, created.pid)
        creation.hand_over_pidfd(given.value("pidfd-socket"), created.pidfd)
        creation.write_pid_file(given.value("pid-file"), created.pid)
        globals.log.debug(f"container {id}: init is process {created.pid}, is set up and waits")
    except BaseException:
        creation.undo(store, id, created, bundle, cgroup)
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
