"""Hooks: programs that run at fixed moments of a container's life, with its state on standard input.

runtime-spec 1.2, config.md ("POSIX-platform Hooks"). A hook is started by posix_spawn(3), so that the caller, which
may hold a large interpreter, is not copied; its output goes to a memory file and into the error if it fails.
"""

from __future__ import annotations

import os
import select
import time

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundplane.oci.runtime import Hook


class HookError(GroundError):
    """A hook failed, could not be started, or took too long."""


def state_document(id: str, status: str, pid: int, bundle: str, annotations: Mapping[str, str]) -> bytes:
    """What a hook reads: the state of runtime.md. `pid` 0 is left out, as after the end."""
    import json  # late: only containers with hooks need it, and it costs 5 ms

    state: dict[str, object] = {"ociVersion": "1.2.0", "id": id, "status": status, "pid": pid, "bundle": bundle}
    if not pid:
        del state["pid"]
    if annotations:
        state["annotations"] = dict(annotations)
    return json.dumps(state).encode()


def run_all(kind: str, hooks: Sequence[Hook], state: bytes) -> None:
    """Run hooks in order; the first that fails ends it. Raises HookError."""
    for index, hook in enumerate(hooks):
        try:
            _run(hook, state)
        except HookError as error:
            raise HookError(f"error running {kind} hook #{index}: {error}") from None


def _run(hook: Hook, state: bytes) -> None:
    stdin = _memory(state)
    output = os.memfd_create("hook")
    environment = dict(e.partition("=")[::2] for e in hook.env) if hook.env else dict(os.environ)
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    try:
        try:
            pid = os.posix_spawn(hook.path, hook.args or (hook.path,), environment, file_actions=actions)
        except OSError as error:
            raise HookError(f"fork/exec {hook.path}: {os.strerror(error.errno or 0).lower()}") from error
        status = _wait(pid, hook.timeout)
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise HookError(f"{how}, output: {_text(output)}")
    finally:
        os.close(stdin)
        os.close(output)


def _wait(pid: int, timeout: int | None) -> int:
    """The hook's exit code, negative for a signal. Raises HookError when it takes more than `timeout` seconds."""
    if timeout is not None:
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            deadline = time.monotonic() + timeout
            while not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                if time.monotonic() >= deadline:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                    raise HookError(f"hook ran past specified timeout of {timeout:.1f}s")
        finally:
            os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _memory(data: bytes) -> int:
    fd = os.memfd_create("state")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _text(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, 4096).decode(errors="replace").strip()
