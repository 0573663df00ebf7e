"""Live streams: of an exec, over pipes or a terminal of its own; of an attached container, over its supervisor.

Both hold back: what nobody reads stays in the pipe or socket, and the process waits, as with docker.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable

from groundplane.base.tasks import Tasks
from groundplane.engine.containers.connection import Connection, close_all
from groundplane.engine.containers.supervised import StartFailed, SupervisorLost
from groundplane.kernel.calls import process
from groundplane.kernel.calls.terminals import set_size
from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import exit_code, open_process
from groundplane.wire.spawner import (
    MAX_CHUNK,
    UNKNOWN,
    Exited,
    Failed,
    Input,
    InputEnd,
    Message,
    Output,
    Resize,
    Started,
)

_HELD = 8  # chunks that wait to be read before the source is no longer read
_LINGER = 2.0  # seconds that others who inherited an exec's output may go on writing after its end, as in docker


class _Chunks:
    """Chunks between a source, which can be paused, and the one who reads."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._pause = pause
        self._resume = resume
        self._ended = False
        self._wakeup = asyncio.Event()

    def put(self, stream: int, data: bytes) -> None:
        self._chunks.append((stream, data))
        if len(self._chunks) >= _HELD:
            self._pause()
        self._wakeup.set()

    def end(self) -> None:
        self._ended = True
        self._wakeup.set()

    async def get(self) -> tuple[int, bytes] | None:
        while not self._chunks:
            if self._ended:
                return None
            self._wakeup.clear()
            await self._wakeup.wait()
        chunk = self._chunks.popleft()
        if len(self._chunks) == _HELD - 1 and not self._ended:
            self._resume()
        return chunk


class ExecStreams:
    """A process beside a container's init. Made by `begin`, given to the spawner, usable once `opened` returns."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks = _Chunks(self._pause, self._resume)
        self._sources: dict[int, int] = {}  # descriptor → stream
        self._paused = False
        self._input = -1
        self._terminal = False
        self._started: asyncio.Future[Started] = self._loop.create_future()
        self._code: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = -1
        self._closed = False
        self.control, self._control_end = Connection.pair(self._on_message, self._on_end)
        self.pid = 0

    def begin(self, *, stdin: bool, stdout: bool, stderr: bool, terminal: bool) -> tuple[str, list[int]]:
        """The process's ends: which of 0, 1, 2 they are, and the descriptors, control first; the caller closes them."""
        fds = [self._control_end.detach()]
        names = ""
        if not terminal:
            if stdin:
                read, self._input = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(self._input, False)
                fds.append(read)
                names += "0"
            for stream, wanted in ((1, stdout), (2, stderr)):
                if wanted:
                    read, write = os.pipe2(os.O_CLOEXEC)
                    self._add_source(read, stream)
                    fds.append(write)
                    names += str(stream)
        self._terminal = terminal
        return names, fds

    async def opened(self) -> None:
        """Returns once the program runs. Raises StartFailed, SupervisorLost."""
        await asyncio.shield(self._started)

    # -- what the agent says ------------------------------------------------------------------------------------

    def _on_message(self, message: Message, fds: list[int]) -> None:
        if isinstance(message, Started) and not self._started.done():
            self.pid = message.pid
            self._pidfd = open_process(message.pid, message.ticks)
            if self._terminal and fds:
                master = fds.pop()
                self._input = os.dup(master)
                os.set_blocking(master, False)
                self._add_source(master, 1)
            self._started.set_result(message)
            self._end_if_done()
        elif isinstance(message, Failed) and not self._started.done():
            self._started.set_exception(StartFailed(message.message, message.code))
        elif isinstance(message, Exited):
            self._ended(message.code)
        close_all(fds)

    def _on_end(self) -> None:
        if not self._started.done():
            self._started.set_exception(SupervisorLost("the process that starts execs died before the program ran"))
        elif not self._code.done():  # the agent was killed: the process goes on, the kernel tells of its end
            if self._pidfd < 0:
                self._ended(UNKNOWN)
            else:
                self._loop.add_reader(self._pidfd, self._on_pidfd)

    def _on_pidfd(self) -> None:
        self._loop.remove_reader(self._pidfd)
        status = process.pidfd_exit_status(self._pidfd)
        self._ended(UNKNOWN if status is None else exit_code(status))

    def _ended(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)
            self._loop.call_later(_LINGER, self._give_up_sources)

    # -- output -------------------------------------------------------------------------------------------------

    def _add_source(self, fd: int, stream: int) -> None:
        os.set_blocking(fd, False)
        self._sources[fd] = stream
        if not self._paused:
            self._loop.add_reader(fd, self._on_readable, fd)

    def _on_readable(self, fd: int) -> None:
        try:
            data = os.read(fd, MAX_CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if data:
            self._chunks.put(self._sources[fd], data)
        else:
            self._drop_source(fd)

    def _drop_source(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        del self._sources[fd]
        os.close(fd)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._sources and self._started.done():
            self._chunks.end()

    def _give_up_sources(self) -> None:
        """Sources that somebody still holds open after the end: what is there now is the last."""
        for fd in list(self._sources):
            if not self._paused:
                self._on_readable(fd)
            if fd in self._sources and not self._paused:
                self._drop_source(fd)

    def _pause(self) -> None:
        self._paused = True
        for fd in self._sources:
            self._loop.remove_reader(fd)

    def _resume(self) -> None:
        self._paused = False
        for fd in self._sources:
            self._loop.add_reader(fd, self._on_readable, fd)
        if self._code.done():
            self._loop.call_later(_LINGER, self._give_up_sources)

    async def read(self) -> tuple[int, bytes] | None:
        return await self._chunks.get()

    # -- input --------------------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._input >= 0:
            try:
                view = view[os.write(self._input, view) :]
            except BlockingIOError:
                room = self._loop.create_future()
                fd = self._input
                self._loop.add_writer(fd, _fulfil, room)
                try:
                    await room
                finally:
                    self._loop.remove_writer(fd)
            except OSError:  # EPIPE, EIO: it no longer reads
                return

    async def close_stdin(self) -> None:
        if self._input >= 0 and not self._terminal:
            self._loop.remove_writer(self._input)
            os.close(self._input)
            self._input = -1

    async def resize(self, rows: int, columns: int) -> None:
        if self._terminal and self._input >= 0:
            try:
                set_size(self._input, rows, columns)
            except KernelError:  # the terminal has gone
                pass

    # -- the end ------------------------------------------------------------------------------------------------

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def kill(self) -> None:
        if self._pidfd >= 0 and not self._code.done():
            try:
                process.pidfd_send_signal(self._pidfd, 9)
            except KernelError:  # it has ended
                pass

    async def close(self) -> None:
        """Let go of everything; a process that still runs goes on, and reads end of file."""
        if self._closed:
            return
        self._closed = True
        self.control.close()
        self._control_end.close()
        for fd in list(self._sources):
            self._loop.remove_reader(fd)
            os.close(fd)
        self._sources.clear()
        self._chunks.end()
        if self._input >= 0:
            self._loop.remove_writer(self._input)
            os.close(self._input)
            self._input = -1
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if not self._code.done():
            self._code.cancel()
        if self._started.done() and not self._started.cancelled():
            self._started.exception()  # it has been seen


class AttachStreams:
    """A container's own streams, over a connection to its supervisor; before its start, over one that it will get.

    If the supervisor dies, `reconnect` finds the next one (None: the container has ended). What the container wrote
    meanwhile is in its log, but may be missing here, as with a docker client that has to attach again.
    """

    def __init__(
        self, wait: Callable[[], Awaitable[int]], reconnect: Callable[[AttachStreams], Awaitable[Connection | None]]
    ) -> None:
        self._wait = wait
        self._reconnect = reconnect
        self._chunks = _Chunks(self._pause, self._resume)
        self._tasks = Tasks("engine.attach")
        self._ended = False
        self.connection: Connection | None = None

    def on_message(self, message: Message, fds: list[int]) -> None:
        close_all(fds)
        if isinstance(message, Output):
            self._chunks.put(message.stream, message.data)
        elif isinstance(message, (Exited, Failed)):
            self._end()

    def on_end(self) -> None:
        if not self._ended:
            self.connection = None
            self._tasks.start("reconnect", self._again())

    async def _again(self) -> None:
        self.connection = await self._reconnect(self)
        if self.connection is None:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._chunks.end()

    def _pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def _resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_CHUNK):
            await self._send(Input(data[at : at + MAX_CHUNK]))

    async def close_stdin(self) -> None:
        await self._send(InputEnd())

    async def resize(self, rows: int, columns: int) -> None:
        await self._send(Resize(rows, columns))

    async def _send(self, message: Message) -> None:
        if self.connection is not None:
            self.connection.send(message)
            await self.connection.drain()

    async def read(self) -> tuple[int, bytes] | None:
        return await self._chunks.get()

    async def wait(self) -> int:
        return await self._wait()

    async def kill(self) -> None:
        """Detach; the container goes on."""
        await self.close()

    async def close(self) -> None:
        await self._tasks.stop()
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self._end()


def _fulfil(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
