"""The engine's line to its spawner: orders with descriptors, and another spawner when the one there dies."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Sequence

from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.engine.containers.connection import Connection, close_all, connected
from groundplane.engine.contract import EngineError
from groundplane.kernel.processes import start_ticks
from groundplane.wire.spawner import VERSION, Done, Hello, Message

_log = Log("engine.spawner")
_PATIENCE = 10.0  # seconds that a spawner has to answer
_POLL = 0.01  # seconds between attempts to connect to one that is starting
_AGAIN = 1.0  # seconds until it is tried again after that patience has ended


class SpawnerUnavailable(EngineError):
    """No spawner answers; nothing was started."""

    retry = True


class Link:
    """One connection, kept up. `start` first; orders wait while a spawner is being replaced."""

    def __init__(self, path: str, spawner_argv: Sequence[str] = ()) -> None:
        """`path` is the spawner's socket; `spawner_argv` starts another one (empty: whoever started it also does)."""
        self._path = path
        self._argv = list(spawner_argv)
        self._connection: Connection | None = None
        self._ready = asyncio.Event()
        self._tasks = Tasks("engine.link")
        self._children: dict[int, int] = {}  # spawners that we started → pidfd
        self._serving = 0  # the pid of the one that answers
        self._closing = False

    async def start(self) -> None:
        """Connect, starting a spawner if none is there. Raises SpawnerUnavailable."""
        await self._connect()

    async def order(self, message: Message, fds: Sequence[int]) -> None:
        """Give the spawner an order; its answer comes over the control socket among `fds`, which the caller closes.

        Returning says only that it is on its way: if the spawner dies before it reads, the control socket ends.
        """
        connection = await self._connected()
        connection.send(message, fds)
        await connection.drain()

    async def _connected(self) -> Connection:
        while True:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._ready.wait()
            except TimeoutError:
                raise SpawnerUnavailable(f"no spawner answers on {self._path}; the engine's log may say why") from None
            if self._connection is not None:  # it may have died again before we were woken
                return self._connection

    async def close(self) -> None:
        """Disconnect, because the engine was asked to end; spawner and containers go on."""
        self._closing = True
        await self._tasks.stop()
        if self._connection is not None:
            self._connection.send(Done())
            self._connection.close()
        self._dismiss_others()
        for pidfd in self._children.values():
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
        self._children.clear()

    async def _connect(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        started = 0
        while True:
            try:
                sock = connected(self._path)
                break
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
                    raise SpawnerUnavailable(f"cannot connect to the spawner on {self._path}: {error}") from error
            if self._argv and started not in self._children:  # none yet, or it died before it served
                started = self._start_spawner()
            if asyncio.get_running_loop().time() > deadline:
                raise SpawnerUnavailable(f"no spawner answers on {self._path}")
            await asyncio.sleep(_POLL)
        self._connection = Connection(sock, self._on_message, self._on_end)
        self._connection.send(Hello(VERSION, os.getpid()))

    async def _reconnect(self) -> None:
        """Until there is a spawner again: without one nothing can be started, and nobody else would mend that."""
        while True:
            try:
                await self._connect()
                return
            except SpawnerUnavailable as error:
                _log.error("the spawner cannot be replaced yet", error=str(error))
                await asyncio.sleep(_AGAIN)

    def _start_spawner(self) -> int:
        argv = self._argv
        if "--" in argv:  # it would start a daemon: it shall keep us instead
            at = argv.index("--")
            argv = [*argv[:at], "--daemon", f"{os.getpid()}:{start_ticks(os.getpid())}", *argv[at:]]
        # posix_spawn, because it does not copy this large process as fork would (vfork inside).
        pid = os.posix_spawn(argv[0], argv, os.environ, setsid=True)
        pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(pidfd, self._reap, pid, pidfd)
        self._children[pid] = pidfd
        _log.warning("spawner started by the engine", pid=pid)
        return pid

    def _reap(self, pid: int, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)
        del self._children[pid]

    def _on_message(self, message: Message, fds: list[int]) -> None:
        close_all(fds)
        if isinstance(message, Hello):
            if message.version != VERSION:
                _log.error("the spawner speaks another version; restart it", theirs=message.version, ours=VERSION)
                return
            self._serving = message.pid
            self._dismiss_others()
            self._ready.set()

    def _dismiss_others(self) -> None:
        """End those that we started and that do not serve, because another was quicker.

        Left alone, one that still waits for the lock would take over when the other is told to end, and stay.
        """
        for pid, pidfd in self._children.items():
            if pid != self._serving:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _on_end(self) -> None:
        self._ready.clear()
        self._connection = None
        self._serving = 0
        if not self._closing:
            _log.warning("the spawner has died")
            self._tasks.start("reconnect", self._reconnect())
