"""Hooks: programs that run at fixed moments of a container's life, with its state on standard input.

runtime-spec 1.2, config.md ("POSIX-platform Hooks"). A hook is started by posix_spawn(3), so that the caller, which
may hold a large interpreter, is not copied; its output goes to a memory file and into the error if it fails.
"""

from __future__ import annotations

import os
import select
import time
from _signal import strsignal  # type: ignore[import-not-found] # because `signal` builds enumerations for 3 ms

from groundplane.base.errors import GroundError
from groundplane.base.quickjson import quoted_ascii
from groundplane.oci.runtime import VERSION, read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from groundplane.oci.runtime import Config, Hook


class HookError(GroundError):
    """A hook failed, could not be started, or took too long."""


def hook_state(id: str, bundle: str, config: Config) -> dict[str, object]:
    """The container's state while it is being made (runtime.md, "State"), but for its pid."""
    return {"id": id, "status": "creating", "bundle": bundle, "annotations": config.annotations}


def complete_state(state: Mapping[str, object], pid: int) -> dict[str, object]:
    """The state of runtime.md: `state` has id, status, bundle and annotations; `pid` 0, after the end, is left out."""
    complete: dict[str, object] = {"ociVersion": VERSION, "id": state["id"], "status": state["status"]}
    if pid:
        complete["pid"] = pid
    complete["bundle"] = state["bundle"]
    if state["annotations"]:
        complete["annotations"] = state["annotations"]
    return complete


def encode_state(state: Mapping[str, object], pid: int) -> bytes:
    """What a hook reads on standard input."""
    return _object(complete_state(state, pid)).encode()


def _object(values: Mapping[str, object]) -> str:
    """JSON of texts, numbers and mappings of them. Without `json`: inside a container there is nothing to import."""
    pairs = []
    for name, value in values.items():
        text = _object(value) if isinstance(value, dict) else quoted_ascii(value) if isinstance(value, str) else value
        pairs.append(f"{quoted_ascii(name)}:{text}")
    return f"{{{','.join(pairs)}}}"


def run_all(kind: str, hooks: Sequence[Hook], state: bytes, environment: Mapping[str, str] = os.environ) -> None:
    """Run hooks in order; the first that fails ends it. `environment` is of those that name none. Raises HookError."""
    for index, hook in enumerate(hooks):
        try:
            _run(hook, state, environment)
        except HookError as error:
            raise HookError(f"error running {kind} hook #{index}: {error}") from None


def run_in_bundle(kind: str, hooks: Sequence[Hook], state: Mapping[str, object], pid: int) -> None:
    """The same in the runtime's namespaces, where the bundle is the hooks' directory, as with runc."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.chdir(str(state["bundle"]))
        except OSError:
            pass  # after the end the bundle may be gone, and the hooks still have to run
        run_all(kind, hooks, encode_state(state, pid))
    finally:
        os.fchdir(here)
        os.close(here)


def run_each(kind: str, hooks: Sequence[Hook], state: Mapping[str, object], pid: int) -> list[str]:
    """Run them all; the sentences of those that fail."""
    failures = []
    for hook in hooks:
        try:
            run_in_bundle(kind, [hook], state, pid)
        except HookError as error:
            failures.append(str(error))
    return failures


def run_poststart(config: dict[str, Any], *, bundle: str, id: str, pid: int) -> None:
    """Run poststart hooks; called once `start()` has returned.

    Raises HookError; the caller then ends the container (runtime.md, "Lifecycle", 9, and runc).
    """
    if not (config.get("hooks") or {}).get("poststart"):
        return
    document = read_config(config)
    state = {**hook_state(id, bundle, document), "status": "running"}
    run_in_bundle("poststart", document.hooks.poststart, state, pid)


def _run(hook: Hook, state: bytes, inherited: Mapping[str, str]) -> None:
    stdin = _memory(state)
    output = os.memfd_create("hook")
    environment = dict(e.partition("=")[::2] for e in hook.env) if hook.env else inherited
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    try:
        try:
            pid = os.posix_spawn(hook.path, hook.args or (hook.path,), environment, file_actions=actions, setpgroup=0)
        except OSError as error:
            raise HookError(f"fork/exec {hook.path}: {os.strerror(error.errno or 0).lower()}") from error
        status = _wait(pid, hook.timeout)
        if status:
            how = f"exit status {status}" if status > 0 else f"signal: {(strsignal(-status) or '').lower()}"
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
                    os.killpg(pid, 9)  # it leads a group, so what it started ends with it
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
