"""A container in the making, from its bundle to a process that waits for `start`: what `create` and `run` share."""

from __future__ import annotations

from groundplane.runtime import deletion, launch, protect
from groundplane.runtime.state import Store
from groundplane.runtime.verbs import creation, readiness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals
    from groundplane.runtime.created import Created


class Making:
    """The id is reserved from the beginning. Who made it calls `undo` whenever something fails afterwards."""

    __slots__ = (
        "_given",
        "_globals",
        "_trampoline",
        "bundle",
        "cgroup",
        "created",
        "detach",
        "directory",
        "id",
        "store",
    )

    def __init__(self, given: Parsed, globals: Globals, *, detach: bool) -> None:
        (self.id,) = given.words
        self._given = given
        self._globals = globals
        self.detach = detach
        self.store = Store(globals.root)
        self.store.directory(self.id)  # refuses ids that are none before anything is read
        self.bundle = creation.Bundle(given, detach=detach)
        self._trampoline = protect.trampoline(self.bundle.config, 3 + len(self.bundle.keep))
        self.cgroup = creation.choose_cgroup(globals, self.bundle.config, self.id)
        self.directory = self.store.reserve(self.id)
        self.created: Created | None = None

    def prepare(self) -> None:
        """Its state, still without a process, and the socket of its readiness."""
        self._store(0)
        readiness.offer(self.bundle.config, self.directory)

    def launch(self, gate: tuple[int, int] | None = None) -> Created:
        """Make its process, write its state and tell whoever the options name."""
        self.created = created = launch.create(
            self.bundle.config,
            bundle=self.bundle.directory,
            id=self.id,
            stdio=(0, 1, 2),
            cgroup=self.cgroup,
            console=self.bundle.terminal,
            keep_fds=self.bundle.keep,
            keyring=not self._given.switch("no-new-keyring"),
            pivot=not self._given.switch("no-pivot"),
            gate=gate,
            trampoline=self._trampoline,
        )
        creation.warn(self._globals, created.warnings)
        if self.detach:
            creation.hand_over_console(self.bundle.console_socket, created.console_fd)
        self._store(created.pid)
        creation.hand_over_pidfd(self._given.value("pidfd-socket"), created.pidfd)
        creation.write_pid_file(self._given.value("pid-file"), created.pid)
        self._globals.log.debug(f"container {self.id}: init is process {created.pid}, is set up and waits")
        return created

    def _store(self, pid: int) -> None:
        creation.store_container(self.store, self.directory, self.id, self.bundle, self.cgroup, pid)

    def undo(self) -> None:
        """After a failure: nothing of the container stays (runtime.md, "Lifecycle", 12 and 13)."""
        config, bundle = self.bundle.config, self.bundle.directory
        if self.created is not None:
            if self.created.pidfd >= 0:  # else it has ended by itself: execve(2) failed
                self.created.abort()
            deletion.delete({**config, "hooks": None}, bundle="", id=self.id, cgroup=self.cgroup)
            deletion.release_root(config, bundle)
        self.store.remove(self.id)
        if self.created is not None:  # else the launch has run them
            deletion.delete(config, bundle=bundle, id=self.id, cgroup="")
