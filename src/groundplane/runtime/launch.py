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

from groundplane.base.errors import GroundError

TYPE_CHECKING = False  # `typing` costs 2 ms at import; checkers take any variable of this name for true
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class LaunchError(GroundError):
    """The container or process could not be started; nothing of it is left.

    `exit_code` is the shell's where the program itself is at fault: 127 it does not exist, 126 it cannot be executed;
    1 for everything else. `str(error)` reads as runc's (`exec: "foo": executable file not found in $PATH`).
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Created:
    """A process that is set up completely and waits for `start()` before it executes its program.

    `pid` is the caller's child on the host; `pidfd` polls readable once it has ended (the caller owns and closes it);
    `console_fd` is the master side of its terminal, or -1 (the caller owns and closes it).
    """

    __slots__ = ("_talk", "console_fd", "pid", "pidfd")

    pid: int
    pidfd: int
    console_fd: int

    def start(self) -> None:
        """Let it execute its program; returns once the execve(2) has succeeded.

        Raises LaunchError (code 126 or 127) when it fails: the child has then been reaped and `pidfd` and `console_fd`
        are closed; the cgroup is left to `delete`.
        """
        raise NotImplementedError

    def abort(self) -> None:
        """Kill and reap the waiting process and close `pidfd` and `console_fd`. The cgroup is left to `delete`."""
        raise NotImplementedError


def create(
    config: dict[str, Any],
    *,
    bundle: str,
    id: str,
    stdio: tuple[int, int, int],
    cgroup: str,
    console: bool = False,
    keep_fds: Sequence[int] = (),
) -> Created:
    """Make the container that the OCI document `config` describes, up to the point before its program runs.

    `bundle` is the directory that relative paths (`root.path`, bind sources) start from; `root.path` is a mounted root
    file system. `stdio` are the caller's descriptors for 0, 1 and 2 (ignored with `console`, which makes a terminal in
    the container; `console_fd` is then its master). `cgroup` is a path below each hierarchy's root, made here with the
    limits of `linux.resources` (its parents too); empty: the caller's own cgroups. It may exist already if it has no
    process in it. `keep_fds` become the container's descriptors 3, 4, … in this order; nothing else is inherited.

    Hooks prestart, createRuntime and createContainer have run when it returns. Raises LaunchError; the process, its
    mounts and the cgroup are then gone.
    """
    raise NotImplementedError


def exec_process(
    pid: int,
    process: dict[str, Any],
    *,
    stdio: tuple[int, int, int],
    cgroup: str = "",
    console: bool = False,
    seccomp: dict[str, Any] | None = None,
    keep_fds: Sequence[int] = (),
) -> Created:
    """Make a process beside the container's init `pid`, in all its namespaces, up to the point before its program runs.

    `process` is an OCI `process` object (user, capabilities, rlimits, … are its own); `seccomp` is the container's
    `linux.seccomp`. `cgroup` is the container's, as given to `create`; empty: init's, read from /proc. The rest is as
    in `create`. Raises LaunchError.
    """
    raise NotImplementedError


def delete(config: dict[str, Any], *, bundle: str, id: str, cgroup: str) -> None:
    """Clear up after the container's init has ended: kill what is left in its cgroup, remove it, run poststop hooks.

    Idempotent. A failing poststop hook is logged, never raised (runtime-spec, config: Poststop). Raises KernelError
    when the cgroup cannot be removed.
    """
    raise NotImplementedError
