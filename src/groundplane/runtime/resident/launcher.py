"""A launcher: a short-lived process, forked from a supervisor, that makes the container and ends once it runs.

Because making a container touches most of the interpreter's memory: done in the supervisor itself, its pages would no
longer be shared with the spawner, 4 MB for each container instead of a third of one. The container is the launcher's
child; the supervisor is a child subreaper for that moment, so it becomes the container's parent (prctl(2)).
"""

from __future__ import annotations

import json
import os
import socket

from groundplane.kernel.calls import process
from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import start_ticks
from groundplane.runtime import launch
from groundplane.runtime.resident.channel import Channel, close_all, pair
from groundplane.runtime.resident.forked import close_all_but
from groundplane.wire.spawner import Created, Failed, Go, Message, Spawn, Started


class Launcher:
    """The supervisor's side. `created` first, then `go`; `end` on every path."""

    def __init__(self, spec: Spawn, stdio: tuple[int, int, int]) -> None:
        """Fork it; it starts to work at once."""
        ours, theirs = pair()
        process.set_child_subreaper(1)
        self._pid = os.fork()
        if self._pid == 0:
            _work(spec, stdio, theirs)
        theirs.close()
        self._channel = Channel(ours)
        ours.setblocking(True)

    def created(self) -> tuple[Created, int]:
        """The container, waiting, and the master of its terminal or -1. Raises LaunchError."""
        message, fds = self._hear()
        assert isinstance(message, Created)
        return message, fds[0] if fds else -1

    def go(self) -> None:
        """Let it run; returns once its program does. Raises LaunchError."""
        self._channel.send(Go())
        self._hear()

    def _hear(self) -> tuple[Message, list[int]]:
        received = self._channel.receive()
        if received is None:
            raise launch.LaunchError("the process that made the container was killed; start it again")
        message, fds = received
        if isinstance(message, Failed):
            close_all(fds)
            raise launch.LaunchError(message.message, message.code)
        return message, fds

    def end(self) -> None:
        """Wait for its end; before `go` it takes the container with it."""
        self._channel.close()
        os.waitpid(self._pid, 0)
        process.set_child_subreaper(0)  # later orphans are the spawner's to reap


def _work(spec: Spawn, stdio: tuple[int, int, int], sock: socket.socket) -> None:
    """The launcher's whole life."""
    try:
        close_all_but({2, *stdio, sock.fileno()})
        channel = Channel(sock)
        sock.setblocking(True)
        try:
            _make(spec, stdio, channel)
        except launch.LaunchError as error:
            channel.send(Failed(error.exit_code, str(error)))
        except (KernelError, OSError, ValueError) as error:
            channel.send(Failed(1, str(error)))
    finally:
        os._exit(0)


def _make(spec: Spawn, stdio: tuple[int, int, int], channel: Channel) -> None:
    with open(f"{spec.run_dir}/config.json", "rb") as f:
        config = json.load(f)
    created = launch.create(
        config, bundle=spec.run_dir, id=spec.id, stdio=stdio, cgroup=spec.cgroup, console=spec.terminal
    )
    terminal = [created.console_fd] if created.console_fd >= 0 else []
    ticks = start_ticks(created.pid)
    channel.send(Created(created.pid, ticks, list(created.warnings)), terminal)
    if channel.receive() is None:  # the supervisor was killed, or cannot go on
        created.abort()
        return
    created.start()
    channel.send(Started(created.pid, ticks, 0, []))
