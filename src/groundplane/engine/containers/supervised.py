"""The engine's view of one supervisor: that the container has started, how it ended, and when all is cleared up."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence

from groundplane.engine.containers.connection import Connection, close_all, connected
from groundplane.engine.containers.link import Link
from groundplane.engine.contract import EngineError
from groundplane.wire.spawner import Exited, Failed, Message, Spawn, Started


class StartFailed(EngineError):
    """The container's program could not be started. `code` is docker's: 126, 127 or 128."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SupervisorLost(EngineError):
    """The supervisor (or the spawner before it) died before it said whether the container runs."""

    retry = True


class Supervised:
    """One connection to a supervisor. `started`, `ended` and `gone` are futures, fulfilled in this order."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[Started] = loop.create_future()
        self.ended: asyncio.Future[Exited | None] = loop.create_future()  # None: the supervisor died
        self.gone: asyncio.Future[None] = loop.create_future()
        self._connection: Connection | None = None

    @classmethod
    async def spawn(cls, link: Link, order: Spawn, attached: Sequence[socket.socket]) -> Supervised:
        """Have a container started; returns once its program runs. Raises StartFailed, SupervisorLost."""
        self = cls()
        self._connection, theirs = Connection.pair(self._on_message, self._on_end)
        try:
            await link.order(order, [theirs.fileno(), *(sock.fileno() for sock in attached)])
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        await self.started
        return self

    @classmethod
    async def connect(cls, run_dir: str) -> Supervised:
        """Find the supervisor of a running container. Raises OSError where none listens, SupervisorLost."""
        sock = connected(f"{run_dir}/sock")
        self = cls()
        self._connection = Connection(sock, self._on_message, self._on_end)
        try:
            await self.started
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Disconnect; the container goes on."""
        if self._connection is not None:
            self._connection.close()
        for future in (self.started, self.ended, self.gone):
            future.cancel()

    def _on_message(self, message: Message, fds: list[int]) -> None:
        close_all(fds)
        if isinstance(message, Started) and not self.started.done():
            self.started.set_result(message)
        elif isinstance(message, Failed) and not self.started.done():
            self.started.set_exception(StartFailed(message.message, message.code))
        elif isinstance(message, Exited) and not self.ended.done():
            self.ended.set_result(message)

    def _on_end(self) -> None:
        if not self.started.done():
            self.started.set_exception(SupervisorLost("the supervisor died before the container ran"))
        if not self.ended.done():
            self.ended.set_result(None)
        if not self.gone.done():
            self.gone.set_result(None)


def is_supervised(run_dir: str) -> bool:
    """Whether somebody supervises, or must: the supervisor removes this file last."""
    return os.path.exists(f"{run_dir}/supervise")
