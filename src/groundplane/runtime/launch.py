"""The runtime's in-process door: make a container's first process, or one beside it, as a child of the caller.

Two callers: the command line (`verbs/`), which lives for one call, and the resident half, a small process that starts
many containers and reaps them itself. Both must be single-threaded, because the caller is duplicated by a raw
clone3(2) and, for a PID or time namespace given by path, changes `pid_for_children` for the length of that call.

The child never executes the Python interpreter again: it is the caller's copy that walks the steps of `steps/` inside
the new namespaces and then executes the container's program. `talk.py` draws what the two say to each other.
`protect.py` says why the caller's own executable must be on a read-only mount; mains call `protect.ensure()` first.

Life of a container here:

    created = create(config, bundle=…, id=…, stdio=(0, 1, 2), cgroup="groundplane-1a2b3c/containers/ID")
    created.start()                  # or created.abort()
    os.waitpid(created.pid, 0)       # the caller is its parent
    delete(config, bundle=…, id=…, cgroup=…)
"""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.process import CLONE_NEWUSER, CLONE_PARENT, pidfd_open
from groundplane.kernel.cgroups import registry
from groundplane.kernel.cgroups.contract import Entrance
from groundplane.kernel.errors import KernelError
from groundplane.oci.runtime import read_config, read_process
from groundplane.runtime.hooks import HookError, run_in_bundle
from groundplane.runtime.plan import NO_PROCESS, Host, Plan, hook_state, plan_container, plan_exec
from groundplane.runtime.resources import cgroup_owner, limits_of, notices_of
from groundplane.runtime.seccomp import compiled
from groundplane.runtime.stages import outside
from groundplane.runtime.stages.outside import LaunchError
from groundplane.runtime.talk import Gone, Talk
from groundplane.runtime.validate import validate, validate_process
from groundplane.runtime.wording import cgroup_words, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from groundplane.kernel.cgroups.contract import Groups
    from groundplane.oci.runtime import Config, Hook, Process

__all__ = ["Created", "LaunchError", "create", "delete", "exec_process"]


NO_STATE: dict[str, object] = {"id": "", "status": "running", "bundle": "", "annotations": {}}


class Created:
    """A process that is set up completely and waits for `start()` before it executes its program.

    `pid` is the caller's child on the host; `pidfd` polls readable once it has ended (the caller owns and closes it);
    `console_fd` is the master side of its terminal, or -1 (the caller owns and closes it). `warnings` are sentences
    about what was asked for and this host cannot deliver (a controller, a capability).
    """

    __slots__ = ("_child", "_made_of", "console_fd", "pid", "pidfd", "warnings")

    def __init__(self, child: outside.Child, warnings: Sequence[str], *made_of: object) -> None:
        self._child = child
        self._made_of = made_of  # kept: to free them while it waits to start would copy the pages that it shares
        self.pid = child.pid
        self.pidfd = child.pidfd
        self.console_fd = child.console_fd
        self.warnings = tuple(warnings)

    def start(self) -> None:
        """Let it execute its program; returns once the execve(2) has succeeded.

        Raises LaunchError (code 126 or 127) when it fails: the child has then been reaped and `pidfd` and `console_fd`
        are closed; the cgroup is left to `delete`.
        """
        talk = self._child.talk
        talk.say("start")
        try:
            word, text = talk.hear()  # only `error` and `refused` come here
        except Gone:
            talk.close()
            return
        self.abort()
        raise _failed(outside.refusal(text) if word == "refused" else outside.launch_error(text))

    def abort(self) -> None:
        """Kill and reap the waiting process and close `pidfd` and `console_fd`. The cgroup is left to `delete`."""
        self._child.end()
        self.pidfd = self.console_fd = -1

    def detach(self) -> None:
        """Leave it waiting at its gate (`create` of the command line); `pidfd` and `console_fd` stay the caller's."""
        self._child.talk.close()


class _HostOnce:
    """What does not change while this process lives, looked up at the first launch."""

    __slots__ = ("_groups", "_host", "_processors")

    def __init__(self) -> None:
        self._groups: Groups | None = None
        self._host: Host | None = None
        self._processors = 0

    def groups(self) -> Groups:
        if self._groups is None:
            self._groups = registry.detect()
        return self._groups

    def host(self) -> Host:
        if self._host is None:
            self._host = Host.look()
        return self._host

    def processors(self) -> int:
        if not self._processors:
            self._processors = os.sysconf("SC_NPROCESSORS_CONF")  # reads a file
        return self._processors


_once = _HostOnce()


def prepare() -> None:
    """Look up what launches need to know of the host. Optional: a process that forks launchers calls it before."""
    _once.groups()
    _once.host()
    _once.processors()


def create(
    config: dict[str, Any],
    *,
    bundle: str,
    id: str,
    stdio: tuple[int, int, int],
    cgroup: str,
    console: bool = False,
    keep_fds: Sequence[int] = (),
    keyring: bool = True,
    pivot: bool = True,
    gate: tuple[int, int] | None = None,
    trampoline: int = -1,
    sibling: bool = False,
    seccomp_cache: str = "",
    lenient: bool = False,
) -> Created:
    """Make the container that the OCI document `config` describes, up to the point before its program runs.

    `bundle` is the directory that relative paths (`root.path`, bind sources) start from; `root.path` is a mounted root
    file system. `stdio` are the caller's descriptors for 0, 1 and 2 (ignored with `console`, which makes a terminal in
    the container; `console_fd` is then its master). `cgroup` is a path below each hierarchy's root, made here with the
    limits of `linux.resources` (its parents too); empty: the caller's own cgroups. It may exist already if it has no
    process in it. `keep_fds` become the container's descriptors 3, 4, … in this order; nothing else is inherited.
    `keyring` gives it a session keyring of its own; `pivot` false moves the root over the host's (runc's --no-pivot).
    `gate` are descriptors to read `start` from and to answer on, for a caller that ends before. `trampoline` is what
    protect.trampoline() gave, and closed here. `sibling` makes it a child of the caller's parent, who reaps it, unless
    it joins a user namespace. `seccomp_cache` is a directory, private to root, for compiled profiles. `lenient` warns
    of limits that this host has no means for; else they are errors.

    Hooks prestart, createRuntime and createContainer have run when it returns. Raises LaunchError; the process, its
    mounts and the cgroup are then gone, and poststop hooks have run (runtime.md, "Lifecycle", 3 to 5, 12, 13).
    """
    try:
        document = read_config(config)
        validate(document)
        seccomp = compiled((config.get("linux") or {}).get("seccomp"), seccomp_cache)
        groups = _once.groups()
        plan = plan_container(
            document,
            _once.host(),
            id=id,
            bundle=bundle,
            root=_root(bundle, document),
            views=groups.views(cgroup or id) if cgroup or _own_cgroups(document) else (),
            console=console,
            enters=bool(cgroup) and groups.layout != "v2",
            keyring=keyring,
            pivot=pivot,
            seccomp=seccomp,
        )
    except GroundError as error:
        raise LaunchError(str(error), error.exit_code) from error
    if sibling and plan.join is None:
        plan.clone_flags |= CLONE_PARENT
    state = hook_state(id, bundle, document)
    given = outside.Descriptors(stdio, keep_fds, gate=Talk(*gate) if gate else None, trampoline=trampoline)
    return _create_or_undo(document, plan, groups, given, state, cgroup=cgroup, lenient=lenient)


def _create_or_undo(
    document: Config,
    plan: Plan,
    groups: Groups,
    descriptors: outside.Descriptors,
    state: Mapping[str, object],
    *,
    cgroup: str,
    lenient: bool,
) -> Created:
    fresh = _missing_groups(groups, cgroup)
    try:
        return _create(document, plan, groups, descriptors, state, cgroup=cgroup, lenient=lenient)
    except BaseException as error:
        starved = isinstance(error, outside.Lost) and cgroup and groups.oom_count(cgroup)
        _undo_cgroup(groups, cgroup, fresh)
        _run_each("poststop", document.hooks.poststop, {**state, "status": "stopped"}, 0)
        if starved:
            raise _failed(LaunchError("container init was OOM-killed (memory limit too low?)")) from error
        if isinstance(error, GroundError):
            raise _failed(error) from error
        raise


def _failed(error: GroundError) -> LaunchError:
    """In runc's words: whatever happens once a process is being made is its failure to start."""
    return LaunchError(f"unable to start container process: {words(error)}", error.exit_code)


def _create(
    config: Config,
    plan: Plan,
    groups: Groups,
    descriptors: outside.Descriptors,
    state: Mapping[str, object],
    *,
    cgroup: str,
    lenient: bool,
) -> Created:
    warnings = plan.warnings
    seccomp = config.linux.seccomp
    listener = (seccomp.listener_path, seccomp.listener_metadata) if seccomp else ("", "")
    process = config.process or NO_PROCESS
    order = outside.Order(process, state, privileged=plan.privileged, config=config, listener=listener)
    entrance = Entrance("", [])
    if cgroup:
        if plan.enters:
            _create_group(groups.create_unified, cgroup)
        else:
            warnings += _make_cgroup(groups, cgroup, config, lenient=lenient)
        entrance = groups.entrance(cgroup)
    try:
        child = outside.clone(plan, descriptors, _time_offsets(config), entrance.directory)
    finally:
        if descriptors.trampoline >= 0:
            os.close(descriptors.trampoline)
    try:
        if plan.clone_flags & CLONE_NEWUSER:
            outside.map_ids(child, order, config.linux.uid_mappings, config.linux.gid_mappings)
        if plan.new_network:
            outside.make_network(child)
        if plan.enters:
            warnings += _make_cgroup(groups, cgroup, config, lenient=lenient)  # while it mounts its root
            outside.admit(child, entrance.tasks)
        if cgroup:
            outside.reset_affinity(child, _once.processors())
        outside.await_ready(child, order)
    except BaseException:
        child.end()
        if child.rooted:
            from groundplane.runtime import hostroot  # late: few share their mount namespace with the host

            hostroot.detach(_root(str(state["bundle"]), config))
        raise
    return Created(child, warnings + child.warnings, config, plan, order)


def _create_group(create: Callable[[str], None], cgroup: str) -> None:
    try:
        create(cgroup)
    except GroundError as error:
        raise LaunchError(f"unable to apply cgroup configuration: {words(error)}") from error


def _make_cgroup(groups: Groups, cgroup: str, config: Config, *, lenient: bool) -> list[str]:
    """Make it with its limits; sentences about what could not be granted. Raises LaunchError, in runc's words."""
    _create_group(groups.create, cgroup)
    resources = config.linux.resources
    try:
        degraded = groups.set(cgroup, limits_of(resources))
        if degraded and not lenient:
            raise LaunchError(degraded[0])
        if (owner := cgroup_owner(config)) is not None:
            groups.delegate(cgroup, owner)
    except GroundError as error:
        problem = "error during container init: error setting cgroup config for procHooks process"
        raise LaunchError(f"{problem}: {cgroup_words(error)}") from error
    return degraded + notices_of(resources)


def _own_cgroups(config: Config) -> bool:
    """Whether a new cgroup namespace makes the caller's own group the container's root."""
    return any(n.type == "cgroup" and not n.path for n in config.linux.namespaces)


def _root(bundle: str, document: Config) -> str:
    path = document.root.path if document.root else ""  # validate() has seen it
    root = path if path.startswith("/") else f"{bundle}/{path}"
    if not os.path.isdir(root):
        problem = "not a directory" if os.path.lexists(root) else "no such file or directory"
        raise LaunchError(f"invalid rootfs: stat {root}: {problem}")
    return os.path.realpath(root)


def _time_offsets(config: Config) -> list[str]:
    """Lines for /proc/PID/timens_offsets (time_namespaces(7))."""
    return [f"{clock} {o.secs} {o.nanosecs}" for clock, o in config.linux.time_offsets.items()]


def _missing_groups(groups: Groups, cgroup: str) -> list[str]:
    """The parents of a group that are not there yet, deepest first. Raises LaunchError where it is somebody's.

    Asked before anything is made, so that a failure takes nothing of another's away.
    """
    if cgroup and groups.exists(cgroup) and groups.processes(cgroup):
        raise LaunchError(f"container's cgroup is not empty: {cgroup} has processes in it")
    missing: list[str] = []
    parent = cgroup.rpartition("/")[0]
    while parent and not groups.exists(parent):
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    if (cgroup and groups.frozen(cgroup)) or (parent and groups.frozen(parent)):
        raise LaunchError("container's cgroup unexpectedly frozen")  # its init would never get to say anything
    return missing


def _undo_cgroup(groups: Groups, cgroup: str, parents: Sequence[str]) -> None:
    if cgroup:
        _remove_cgroup(groups, cgroup)
    for parent in parents:
        groups.prune(parent)


def _remove_cgroup(groups: Groups, cgroup: str) -> None:
    groups.prune(cgroup)  # the usual end: nothing is left in it, and ten calls do it, not a hundred
    if groups.exists(cgroup):
        groups.kill(cgroup)
        groups.remove(cgroup)


def exec_process(
    pid: int,
    process: dict[str, Any],
    *,
    stdio: tuple[int, int, int],
    cgroup: str = "",
    console: bool = False,
    seccomp: dict[str, Any] | None = None,
    keep_fds: Sequence[int] = (),
    seccomp_cache: str = "",
    below: Mapping[str, str] | None = None,
    personality: str = "",
    state: Mapping[str, object] | None = None,
    chroot: bool = False,
) -> Created:
    """Make a process beside the container's init `pid`, in all its namespaces, up to the point before its program runs.

    `process` is an OCI `process` object (user, capabilities, rlimits, … are its own); `seccomp` is the container's
    `linux.seccomp`. `cgroup` is the container's, as given to `create`; empty: the caller's own cgroups; `below`
    names groups below it to use instead, by controller (`Groups.entrance`). `personality` is its execution domain
    (`LINUX32`), `state` its id, status, bundle and annotations, which a seccomp agent is told. `chroot`: its root is
    init's and not the mount namespace's, which is not the container's own. The rest is as in `create`. Raises
    LaunchError.
    """
    descriptors: list[int] = []
    try:
        document = read_process(process)
        validate_process(document)
        descriptors.append(pidfd_open(pid))
        if chroot:
            descriptors.append(_root_of(pid))
        flags, parent = outside.namespaces_of(pid)
        entrance = _once.groups().entrance(cgroup, below=below, beside=pid) if cgroup else Entrance("", [])
        plan = plan_exec(
            document,
            _once.host(),
            descriptors=descriptors,
            flags=flags,
            console=console,
            enters=bool(entrance.tasks),
            personality=personality,
            seccomp=compiled(seccomp, seccomp_cache),
        )
        if plan.join is None:
            plan.parent_namespaces = parent
        given = outside.Descriptors(stdio, keep_fds, descriptors)
        child = outside.clone(plan, given, cgroup=entrance.directory)
        try:
            order = _exec_order(document, state or NO_STATE, seccomp or {}, plan)
            _admit_beside(child, document, entrance, order, grouped=bool(cgroup))
        except BaseException:
            child.end()
            raise
        return Created(child, plan.warnings + child.warnings)
    except GroundError as error:
        raise _failed(error) from error
    finally:
        for fd in descriptors:
            os.close(fd)


def _root_of(pid: int) -> int:
    try:
        return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, f"/proc/{pid}/root") from error


def _admit_beside(
    child: outside.Child, process: Process, entrance: Entrance, order: outside.Order, *, grouped: bool
) -> None:
    """Into the container's groups and until it is ready; config.md's execCPUAffinity says its CPUs before and after."""
    affinity = process.exec_cpu_affinity
    if affinity:
        outside.set_affinity(child, affinity.initial)
    outside.admit(child, entrance.tasks)
    outside.await_ready(child, order)
    if affinity:
        outside.set_affinity(child, affinity.final)
    elif grouped:
        outside.reset_affinity(child, _once.processors())


def _exec_order(process: Process, state: Mapping[str, object], seccomp: dict[str, Any], plan: Plan) -> outside.Order:
    listener = (seccomp.get("listenerPath") or "", seccomp.get("listenerMetadata") or "")
    return outside.Order(process, state, privileged=plan.privileged, listener=listener)


def delete(config: dict[str, Any], *, bundle: str, id: str, cgroup: str) -> list[str]:
    """Clear up after the container's init has ended: kill what is left in its cgroup, remove it, run poststop hooks.

    Idempotent, but for the hooks. A failing poststop hook does not fail it (runtime-spec, config.md: Poststop): its
    sentence is returned. Raises KernelError when the cgroup cannot be removed.
    """
    if cgroup:
        _remove_cgroup(_once.groups(), cgroup)
    if not (config.get("hooks") or {}).get("poststop"):
        return []
    document = read_config(config)
    return _run_each("poststop", document.hooks.poststop, {**hook_state(id, bundle, document), "status": "stopped"}, 0)


def has_own_mounts(config: dict[str, Any]) -> bool:
    """Whether a container's mount namespace is its own: made for it, not joined by path and not the caller's."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(namespace["type"] == "mount" and not namespace.get("path") for namespace in namespaces)


def release_root(config: dict[str, Any], bundle: str) -> None:
    """Take away the root of a container that had no mount namespace (`hostroot.py`); once, after its init has ended."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None  # what a killed `create` left nobody has read yet
    if isinstance(path, str) and not any(namespace["type"] == "mount" for namespace in namespaces):
        from groundplane.runtime import hostroot

        hostroot.detach(os.path.realpath(os.path.join(bundle, path)))


def run_poststart(config: dict[str, Any], *, bundle: str, id: str, pid: int) -> None:
    """Run poststart hooks; called once `start()` has returned.

    Raises HookError; the caller then ends the container (runtime.md, "Lifecycle", 9, and runc).
    """
    if not (config.get("hooks") or {}).get("poststart"):
        return
    document = read_config(config)
    state = {**hook_state(id, bundle, document), "status": "running"}
    run_in_bundle("poststart", document.hooks.poststart, state, pid)


def _run_each(kind: str, hooks: Sequence[Hook], state: Mapping[str, object], pid: int) -> list[str]:
    """Run them all; the sentences of those that fail."""
    failures = []
    for hook in hooks:
        try:
            run_in_bundle(kind, [hook], state, pid)
        except HookError as error:
            failures.append(str(error))
    return failures
