"""A process beside a container's init (`exec`): like the container itself (`launch.py`), a child of the caller."""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.process import pidfd_open
from groundplane.kernel.cgroups.contract import Entrance
from groundplane.kernel.errors import KernelError
from groundplane.oci.runtime import read_process
from groundplane.runtime.created import Created
from groundplane.runtime.failures import failed
from groundplane.runtime.lookups import once
from groundplane.runtime.plan import plan_exec
from groundplane.runtime.seccomp import compiled
from groundplane.runtime.stages import outside
from groundplane.runtime.stages.namespaces import namespaces_of
from groundplane.runtime.validate import validate_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from groundplane.oci.runtime import Process
    from groundplane.runtime.plan import Plan

NO_STATE: dict[str, object] = {"id": "", "status": "running", "bundle": "", "annotations": {}}


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
        flags, parent = namespaces_of(pid)
        entrance = once.groups().entrance(cgroup, below=below, beside=pid) if cgroup else Entrance("", [])
        plan = plan_exec(
            document,
            once.host(),
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
            _admit_beside(child, document, entrance, order)
        except BaseException:
            child.end()
            raise
        return Created(child, plan.warnings + child.warnings)
    except GroundError as error:
        raise failed(error) from error
    finally:
        for fd in descriptors:
            os.close(fd)


def _root_of(pid: int) -> int:
    try:
        return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, f"/proc/{pid}/root") from error


def _admit_beside(child: outside.Child, process: Process, entrance: Entrance, order: outside.Order) -> None:
    """Into the container's groups and until it is ready; config.md's execCPUAffinity says its CPUs before and after."""
    affinity = process.exec_cpu_affinity
    if affinity:
        outside.set_affinity(child, affinity.initial)
    outside.admit(child, entrance.tasks)
    outside.await_ready(child, order)
    if affinity:
        outside.set_affinity(child, affinity.final)
    else:
        outside.reset_affinity(child, once.processors())


def _exec_order(process: Process, state: Mapping[str, object], seccomp: dict[str, Any], plan: Plan) -> outside.Order:
    listener = (seccomp.get("listenerPath") or "", seccomp.get("listenerMetadata") or "")
    return outside.Order(process, state, privileged=plan.privileged, listener=listener)


def has_own_mounts(config: dict[str, Any]) -> bool:
    """Whether a container's mount namespace is its own: made for it, not joined by path and not the caller's."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(namespace["type"] == "mount" and not namespace.get("path") for namespace in namespaces)
