"""The outside stage: the caller's part of a launch, from the clone to `ready`."""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls import process as p
from groundplane.kernel.calls.files import write_text
from groundplane.kernel.calls.rlimits import prlimit
from groundplane.kernel.errors import KernelError
from groundplane.runtime.failures import LaunchError, Lost, launch_error
from groundplane.runtime.hooks import run_in_bundle
from groundplane.runtime.stages import inside, namespaces
from groundplane.runtime.talk import Gone, Talk, pair
from groundplane.runtime.wording import cgroup_words, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundplane.oci.runtime import Config, Process
    from groundplane.oci.runtime_linux import IdMapping
    from groundplane.runtime.plan import Plan


class Child:
    """The new process as outside sees it."""

    __slots__ = ("console_fd", "pid", "pidfd", "rooted", "talk", "warnings")

    def __init__(self, pid: int, pidfd: int, talk: Talk) -> None:
        self.rooted = False  # its root is mounted among our mounts, see hostroot.py
        self.pid = pid
        self.pidfd = pidfd
        self.talk = talk
        self.console_fd = -1
        self.warnings: list[str] = []

    def end(self) -> None:
        """Kill and reap it, and close what is left of it."""
        self.talk.close()
        if self.console_fd >= 0:
            os.close(self.console_fd)
            self.console_fd = -1
        if self.pidfd >= 0:
            try:
                p.pidfd_send_signal(self.pidfd, 9)
            except KernelError as error:
                if error.errno != errno.ESRCH:
                    raise
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass  # SIGCHLD is ignored here, or somebody reaped it
            os.close(self.pidfd)
            self.pidfd = -1


class Descriptors:
    """What the new process gets of our descriptors: its own, those of steps, the gate for `start`, the trampoline."""

    __slots__ = ("extra", "gate", "keep", "stdio", "trampoline")

    def __init__(
        self,
        stdio: Sequence[int],
        keep: Sequence[int] = (),
        extra: list[int] | None = None,
        gate: Talk | None = None,
        trampoline: int = -1,
    ) -> None:
        self.stdio = stdio
        self.trampoline = trampoline  # reports to the first descriptor above the container's; -1: executed directly
        self.keep = keep
        self.extra = extra if extra is not None else []
        self.gate = gate


def clone(plan: Plan, descriptors: Descriptors, offsets: Sequence[str] = (), cgroup: str = "") -> Child:
    """Make the process, in a v2 group's directory, and let it walk its plan. Raises KernelError, LaunchError."""
    cgroup_fd = _open_group(cgroup)
    try:
        return _clone(plan, descriptors, offsets, cgroup_fd)
    finally:
        if cgroup_fd >= 0:
            os.close(cgroup_fd)


def _clone(plan: Plan, descriptors: Descriptors, offsets: Sequence[str], cgroup_fd: int) -> Child:
    if plan.join is not None:
        from groundplane.runtime.stages import between  # late: few join a user namespace
    ignored = inside.ignored_signals()  # asked here, where it is known by heart
    ours, theirs = pair()
    try:
        restore = namespaces.choose_for_children(plan.parent_namespaces, offsets)
        try:
            pid, pidfd = p.clone3(0 if plan.join is not None else plan.clone_flags, cgroup_fd)
        except KernelError:
            namespaces.restore_ours(restore)
            raise
    except KernelError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        if plan.join is not None:
            between.run(plan, theirs, descriptors, offsets)
        inside.run(plan, theirs, descriptors, ignored)
    namespaces.restore_ours(restore)
    theirs.close()
    if plan.join is not None:
        os.close(pidfd)
        pid, pidfd = _await_birth(pid, ours)
    return Child(pid, pidfd, ours)


def _await_birth(pid: int, talk: Talk) -> tuple[int, int]:
    from groundplane.runtime.stages import between

    try:
        return between.await_birth(pid, talk)
    except BaseException as error:
        talk.close()
        if isinstance(error, between.NotBorn):
            raise launch_error(str(error)) from None
        if isinstance(error, Gone):
            raise Lost("container init ended before it was ready") from None
        raise


def make_network(child: Child) -> None:
    """Make the container's network namespace and hand it over."""
    made = namespaces.new_network()
    try:
        child.talk.say_with_fd("network", made)
    finally:
        os.close(made)


def map_ids(child: Child, order: Order, uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> None:
    """Write the new user namespace's mappings (user_namespaces(7)) and say so."""
    from groundplane.kernel import idmaps  # late: few have a user namespace

    if not order.privileged:
        _set_oom_score(child.pid, order.process)  # later its files in /proc are not ours to write
    idmaps.write(child.pid, _lines(uids), _lines(gids))
    child.talk.say("mapped")


def _lines(mappings: Sequence[IdMapping]) -> list[tuple[int, int, int]]:
    return [(one.container_id, one.host_id, one.size) for one in mappings]


def _open_group(directory: str) -> int:
    """A descriptor of the v2 group that a process is to be born in; -1 without one."""
    if not directory:
        return -1
    try:
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        problem = cgroup_words(KernelError.of("open", error, directory))
        raise LaunchError(f"error adding a process to cgroups: {problem}") from error


def admit(child: Child, tasks: Sequence[str]) -> None:
    """Let it into its v1 groups, if there are any: with our rights, but by its own hand, so that nobody waits."""
    if not tasks:
        return
    fds = []
    try:
        for path in tasks:
            try:
                fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                problem = cgroup_words(KernelError.of("open", error, path))
                raise LaunchError(f"error adding pid {child.pid} to cgroups: {problem}") from error
        child.talk.say_with_fd("enter", *fds, text="\n".join((str(child.pid), *tasks)))
    finally:
        for fd in fds:
            os.close(fd)


def reset_affinity(child: Child, processors: int) -> None:
    """Every CPU that its group may use, whatever the caller was bound to (runc ≥ 1.2). sched_setaffinity(2).

    A process keeps its own mask when it changes its group, and the mask of who called us is none of its business. It
    may still be on its way into the group: the kernel gives it what both the group and this leave.
    """
    try:
        os.sched_setaffinity(child.pid, range(processors))
    except OSError:
        pass  # a courtesy, as to runc: it runs where it was


def set_affinity(child: Child, cpus: Sequence[int]) -> None:
    """The CPUs of a process of exec (config.md, "execCPUAffinity"); none named: as it is. sched_setaffinity(2)."""
    if cpus:
        try:
            os.sched_setaffinity(child.pid, cpus)
        except OSError as error:
            raise KernelError.of("sched_setaffinity", error, f"CPUs {cpus}") from error


class Order:
    """What is being launched, as far as outside must know it to serve what inside asks for."""

    __slots__ = ("config", "listener", "privileged", "process", "state")

    def __init__(
        self,
        process: Process,
        state: Mapping[str, object],
        *,
        privileged: bool,
        config: Config | None = None,
        listener: tuple[str, str] = ("", ""),
    ) -> None:
        self.process = process
        self.privileged = privileged
        self.state = state  # the container's, for hooks and the seccomp agent
        self.config = config  # None for a process beside an init
        self.listener = listener  # the seccomp agent's socket and what to tell it


def await_ready(child: Child, order: Order) -> None:
    """Serve what inside asks for until it is ready. Raises LaunchError, KernelError."""
    while True:
        try:
            word, text, fd = child.talk.hear_with_fd()
        except Gone:
            raise Lost("container init ended before it was ready") from None
        if word == "ready":
            break
        if word == "error":
            raise launch_error(text)
        if word == "warning":
            child.warnings.append(text)
        elif word == "limits":
            _set_limits(child.pid, order.process)
            if order.privileged:
                _set_oom_score(child.pid, order.process)
            child.talk.say("go")
        elif word == "hooks" and order.config is not None:
            hooks = order.config.hooks
            run_in_bundle("prestart", hooks.prestart, order.state, child.pid)
            run_in_bundle("createRuntime", hooks.create_runtime, order.state, child.pid)
            child.talk.say("go")
        elif word == "console":
            child.console_fd = fd
        else:
            _serve(child, order, word, text, fd)


def _serve(child: Child, order: Order, word: str, text: str, fd: int) -> None:
    """The rarer requests, whose code is loaded only for them."""
    if word == "rooted":
        child.rooted = True
        return
    from groundplane.runtime.stages import favours

    if word == "source":
        fd = favours.open_source(child.pid, text)
        try:
            child.talk.say_with_fd(word, fd)
        finally:
            os.close(fd)
        return
    if word == "listener":
        favours.hand_over_listener(child.pid, child.pidfd, int(text), order.listener, order.state)
    elif word == "netdevices" and order.config is not None:
        favours.move_devices(child.pid, order.config)
    elif word == "tree" and order.config is not None:
        favours.map_owners(child.pid, order.config.mounts[int(text)], fd)
    child.talk.say("go")


def _set_limits(pid: int, process: Process) -> None:
    """rlimits: raising them needs rights over the host's user namespace, which inside may lack.

    prlimit(2) of a process of another user needs CAP_SYS_RESOURCE, so this comes before it becomes the container's.
    """
    for limit in process.rlimits:
        try:
            prlimit(pid, limit.type, limit.soft, limit.hard)
        except KernelError as error:
            raise LaunchError(
                f"error during container init: error setting rlimits for ready process: {words(error)}"
            ) from None


def _set_oom_score(pid: int, process: Process) -> None:
    """Lowering it needs such a right too. proc_pid_oom_score_adj(5)."""
    if process.oom_score_adj is not None:
        write_text(f"/proc/{pid}/oom_score_adj", str(process.oom_score_adj))
