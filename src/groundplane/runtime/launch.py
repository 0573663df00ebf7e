"""The runtime's in-process door: make a container's first process as a child of the caller.

`beside.py` makes a process beside it, `deletion.py` clears up after it, `hooks.py` runs the hooks between.

Two callers: the command line (`verbs/`), which lives for one call, and the resident half, a small process that starts
many containers and reaps them itself. Both must be single-threaded, because the caller is duplicated by a raw
clone3(2) and, for a PID or time namespace given by path, changes `pid_for_children` for the length of that call.

The child never executes the Python interpreter again: it is the caller's copy that walks the steps of `steps/` inside
the new namespaces and then executes the container's program. `talk.py` draws what the two say to each other.
`protect.py` says why the caller's own executable must be on a read-only mount; mains call `protect.ensure()` first.

Life of a container here:

    created = launch.create(config, bundle=…, id=…, stdio=(0, 1, 2), cgroup="groundplane-1a2b3c/containers/ID")
    created.start()                  # or created.abort()
    os.waitpid(created.pid, 0)       # the caller is its parent
    deletion.delete(config, bundle=…, id=…, cgroup=…)
"""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.process import CLONE_NEWUSER, CLONE_PARENT
from groundplane.kernel.cgroups.contract import Entrance
from groundplane.oci.runtime import read_config
from groundplane.runtime.created import Created
from groundplane.runtime.failures import LaunchError, Lost, failed
from groundplane.runtime.groups import create_group, make_group, missing_parents, undo_group
from groundplane.runtime.hooks import hook_state, run_each
from groundplane.runtime.lookups import once
from groundplane.runtime.plan import NO_PROCESS, Plan, plan_container
from groundplane.runtime.seccomp import compiled
from groundplane.runtime.stages import outside
from groundplane.runtime.talk import Talk
from groundplane.runtime.validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from groundplane.kernel.cgroups.contract import Groups
    from groundplane.oci.runtime import Config

__all__ = ["Created", "create"]


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
        groups = once.groups()
        plan = plan_container(
            document,
            once.host(),
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
    fresh = missing_parents(groups, cgroup)
    try:
        return _create(document, plan, groups, descriptors, state, cgroup=cgroup, lenient=lenient)
    except BaseException as error:
        starved = isinstance(error, Lost) and cgroup and groups.oom_count(cgroup)
        undo_group(groups, cgroup, fresh)
        run_each("poststop", document.hooks.poststop, {**state, "status": "stopped"}, 0)
        if starved:
            raise failed(LaunchError("container init was OOM-killed (memory limit too low?)")) from error
        if isinstance(error, GroundError):
            raise failed(error) from error
        raise


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
            create_group(groups.create_unified, cgroup)
        else:
            warnings += make_group(groups, cgroup, config, lenient=lenient)
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
            warnings += make_group(groups, cgroup, config, lenient=lenient)  # while it mounts its root
            outside.admit(child, entrance.tasks)
        outside.reset_affinity(child, once.processors())
        outside.await_ready(child, order)
    except BaseException:
        child.end()
        if child.rooted:
            from groundplane.runtime import hostroot  # late: few share their mount namespace with the host

            hostroot.detach(_root(str(state["bundle"]), config))
        raise
    return Created(child, warnings + child.warnings, config, plan, order)


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
