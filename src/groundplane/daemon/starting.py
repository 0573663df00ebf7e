"""Starting a daemon from a command: one at a time, detached, and waited for until it says that it is ready.

    ground ──lock──► spawner (detached, own session) ──► groundd ──pipe──► step … / ready / error …

Whoever comes second waits at the lock and then finds the socket answering.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable

from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings
from groundplane.daemon.instance import Instance, owner

TIMEOUT = 60.0


class StartError(GroundError):
    """The daemon did not come up; the sentence says why and where its log is."""


def answers(settings: Settings) -> bool:
    """Whether a daemon listens on the engine's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(settings.engine_socket)
        except OSError:
            return False
    return True


def start(settings: Settings, report: Callable[[str], None] = lambda _: None) -> bool:
    """Start spawner and daemon of this instance unless they run; whether it was started here. Raises StartError."""
    if os.geteuid() != 0:
        raise StartError(
            "groundd needs root: namespaces, mounts and cgroups of other users are the kernel's to give; run with sudo"
        )
    instance = Instance(settings)
    instance.make_directories()
    lock = os.open(os.path.join(settings.run, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if answers(settings) or _comes_back(settings):
            return False
        try:
            _launch(instance, report)
        except StartError:
            if _comes_back(settings):  # started by a spawner or daemon that a kill had left, while this one began
                return False
            raise
        return True
    finally:
        os.close(lock)


def _comes_back(settings: Settings) -> bool:
    """Whether a daemon that does not answer at the moment will: whichever of it and its spawner lives starts the other.

    A second pair beside that one would only quarrel about the root. Gives up when both have gone.
    """
    import time  # late: most starts find no spawner

    deadline = time.monotonic() + TIMEOUT
    while (_spawner_lives(settings) or owner(settings) == settings.run) and time.monotonic() < deadline:
        if answers(settings):
            return True
        time.sleep(0.02)
    return answers(settings)


def _spawner_lives(settings: Settings) -> bool:
    """By its lock, which it holds from before its socket answers until after it is gone."""
    lock = os.open(os.path.join(settings.run, "spawner.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def daemon_argv(settings: Settings) -> list[str]:
    return [sys.executable, "-m", "groundplane.daemon.main", "--root", settings.root, "--run", settings.run]


def _launch(instance: Instance, report: Callable[[str], None]) -> None:
    from groundplane.runtime.resident.command import spawner_argv  # late: only who starts a daemon needs it

    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    log = os.open(instance.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    null = os.open(os.devnull, os.O_RDWR)
    argv = spawner_argv(instance.settings.run, daemon_argv(instance.settings), ready_fd=writing)
    try:
        os.posix_spawn(
            argv[0],
            argv,
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(writing)
        os.close(log)
        os.close(null)
    with os.fdopen(reading, "r") as lines:
        _await_ready(lines.fileno(), instance, report)


def _await_ready(fd: int, instance: Instance, report: Callable[[str], None]) -> None:
    import select  # late: 1 ms
    import time

    deadline = time.monotonic() + TIMEOUT
    text = b""
    while True:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([fd], [], [], max(left, 0))
        chunk = os.read(fd, 4096) if readable else b""
        if not chunk:
            why = "it ended" if readable else f"it was not ready after {TIMEOUT:.0f} s"
            raise StartError(f"groundd did not start: {why}; its log: {instance.log_file}")
        text += chunk
        while b"\n" in text:
            line, _, text = text.partition(b"\n")
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "ready":
                return
            if word == "error":
                raise StartError(f"groundd did not start: {rest}; its log: {instance.log_file}")
            if word == "step":
                report(rest)
