"""A supervisor: one process that makes one container, owns its streams, and leaves its end in a file.

It is forked from the spawner and shares almost all its memory with it. Its parent may die: it then goes on alone, and
a new spawner finds it by its socket. It may itself be killed at any moment: the container goes on, and another
supervisor is forked that resumes where it stopped.

In the run directory `c/<id12>/` it makes: `supervise` (its own orders, a Spawn message; as long as this file is there
somebody must supervise), `stdout` and `stderr` (FIFOs), `spool.*` and `journal` (see `output.py`), `pid` (`<pid>
<start ticks> <start in ns>` once the container exists), `sock` (where it listens). All are gone when it has ended.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time

from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import exit_code, open_process
from groundplane.runtime import launch
from groundplane.runtime.resident.channel import AF_UNIX, SEQPACKET, Channel, close_all
from groundplane.runtime.resident.clients import Clients
from groundplane.runtime.resident.ending import learn_status, oom_killed, read_exit_file, write_exit_file
from groundplane.runtime.resident.launcher import Launcher
from groundplane.runtime.resident.streams import Streams
from groundplane.wire.spawner import (
    UNKNOWN,
    Deposit,
    Done,
    Exited,
    Failed,
    Input,
    InputEnd,
    Message,
    Reaped,
    Resize,
    Spawn,
    Started,
    encode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from groundplane.kernel.cgroups.contract import Groups

_RETRY = 1.0  # seconds between attempts to write a log that a full disk refused
_FILES = ("stdout", "stderr", "journal", "spool.1.0", "spool.1.1", "spool.2.0", "spool.2.1", "sock", "pid", "supervise")


class Supervisor:
    """One container's keeper: `start` or `resume`, then `run` until the container has ended, then `leave`."""

    def __init__(self, spec: Spawn, spawner: Channel, groups: Groups) -> None:
        self.spec = spec
        self._groups = groups
        self.streams = Streams(spec)
        self._spawner: Channel | None = spawner
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._clients = Clients(self)
        self._listener = socket.socket(AF_UNIX, SEQPACKET)
        self._pid = self._ticks = self._at = 0
        self._pidfd = -1
        self._warnings: list[str] = []
        self._ours = False  # whether the container is our child
        self._told: int | None = None  # its exit code, in the spawner's words
        self._ended = False
        self._disk_full = False

    # -- beginning ----------------------------------------------------------------------------------------------

    def start(self, control: Channel, attached: list[Channel]) -> bool:
        """Make the container and let it run; whether it runs. The engine is told either way."""
        self._clients.add(control)
        for channel in attached:
            self._clients.add(channel).attached = True
        try:
            self._make()
        except (launch.LaunchError, KernelError, OSError) as error:
            self._clear_up()
            # Docker's codes: 127 not found, 126 not executable, 128 for every other reason of its runtime.
            code = error.exit_code if isinstance(error, launch.LaunchError) and error.exit_code > 1 else 128
            self._clients.tell_all(Failed(code, str(error)))
            return False
        self._clients.tell_all(Started(self._pid, self._ticks, self._at, self._warnings))
        return True

    def resume(self, kept: Mapping[str, int], code: int) -> bool:
        """Go on in place of a killed supervisor; whether there is still anything to supervise.

        `kept` are the streams whose duplicates the spawner holds (none if it was killed too: FIFOs are opened again
        by name, a terminal is lost); `code` is the exit code that it has learnt, or UNKNOWN.
        """
        if code != UNKNOWN:
            self._told = code
        if read_exit_file(self.spec.exit_path) is not None or not self._read_pid():
            # Killed after the end was written, or before the container ran: its init saw that and has left.
            self._clear_up()
            return False
        self._pidfd = open_process(self._pid, self._ticks)
        self.streams.open(kept)
        self._listen()
        self._deposit()
        self._record()
        return True

    def _make(self) -> None:
        spec = self.spec
        self._remove_files(spec.exit_path)
        _write(f"{spec.run_dir}/supervise", encode(spec))
        stdio = self.streams.make()
        try:
            launcher = Launcher(spec, stdio)
        finally:
            close_all(stdio)
        try:
            created, master = launcher.created()
            self._pid, self._ticks, self._warnings = created.pid, created.ticks, created.warnings
            self._pidfd = open_process(self._pid, self._ticks)
            self._at = time.time_ns()
            _write(f"{spec.run_dir}/pid", b"%d %d %d" % (self._pid, self._ticks, self._at))
            self.streams.open({"terminal": master} if master >= 0 else {})
            self._listen()
            self._deposit()  # before it runs: from here on a kill of ours can be mended
            launcher.go()
        finally:
            launcher.end()
        self._ours = True

    def _listen(self) -> None:
        path = f"{self.spec.run_dir}/sock"
        _remove(path)
        self._listener.setblocking(False)
        self._listener.bind(path)
        self._listener.listen(16)

    def _deposit(self) -> None:
        if self._spawner is not None:
            kept = self.streams.deposit()
            self._spawner.send(Deposit(self._pid, self._ticks, list(kept)), list(kept.values()))

    def _read_pid(self) -> bool:
        try:
            with open(f"{self.spec.run_dir}/pid", "rb") as f:
                pid, ticks, at = f.read().split()
        except (FileNotFoundError, ValueError):
            return False
        self._pid, self._ticks, self._at = int(pid), int(ticks), int(at)
        return True

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Supervise until the container has ended; then its end is written, all are told, and its files are gone."""
        self.proceed()
        if self._pidfd >= 0:
            self.watch(self._pidfd, select.EPOLLIN, self._on_end)
        else:
            self._ended = True
        self.watch(self._listener.fileno(), select.EPOLLIN, self._on_connect)
        if self._spawner is not None:
            self.watch(self._spawner.fileno(), select.EPOLLIN, self._on_spawner)
        while not self._ended:
            for fd, events in self._poll.poll(_RETRY if self._disk_full else -1):
                if handler := self._handlers.get(fd):
                    handler(events)
            if self._disk_full:
                self._disk_full = False
                self.proceed()
                self._record()
        self._finish()

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        if fd in self._handlers:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def pause(self) -> None:
        """Stop reading the streams: an attached client or the log's disk is behind, and the container has to wait."""
        for fd in (*self.streams.fifos.values(), self.streams.master):
            self.unwatch(fd)

    def proceed(self) -> None:
        """Read the streams again, unless something else is still behind."""
        if self._disk_full or self._ended or self._clients.behind:
            return
        for stream, fd in self.streams.fifos.items():
            self.watch(fd, select.EPOLLIN, lambda _events, stream=stream: self._on_output(stream))  # type: ignore[misc]
        if self.streams.master >= 0:
            self.watch(self.streams.master, select.EPOLLIN, self._on_terminal)

    def _on_output(self, stream: int) -> None:
        if data := self.streams.take(stream):
            self._clients.output(stream, data)
            self._record()

    def _record(self) -> None:
        try:
            self.streams.recorder.record()
        except OSError:  # ENOSPC, EDQUOT, EIO: what was taken waits in its spool, the rest in the FIFOs
            self._disk_full = True
            self.pause()

    def _on_terminal(self, _events: int) -> None:
        if not self.streams.pump():
            self.unwatch(self.streams.master)  # hung up; the pidfd tells of the end

    def _on_end(self, _events: int) -> None:
        self._ended = True

    def _on_connect(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # the caller has gone already
            return
        self._clients.add(Channel(sock)).channel.send(Started(self._pid, self._ticks, self._at, self._warnings))

    def _on_spawner(self, _events: int) -> None:
        assert self._spawner is not None
        try:
            received = self._spawner.receive()
        except BlockingIOError:
            return
        if received is None:  # killed: the daemon starts another, which connects and says Adopt
            self.unwatch(self._spawner.fileno())
            self._spawner.close()
            self._spawner = None
        elif isinstance(received[0], Reaped):
            self._told = received[0].code

    def adopt(self, channel: Channel) -> None:
        """A new spawner has found us."""
        if self._spawner is not None:
            self.unwatch(self._spawner.fileno())
            self._spawner.close()
        self._spawner = channel
        self.watch(channel.fileno(), select.EPOLLIN, self._on_spawner)
        self._deposit()

    def answer(self, message: Message) -> bytes:
        """Perform a client's message; input that does not fit now is returned, to be offered again."""
        if isinstance(message, Input):
            return self.streams.feed(message.data)
        if isinstance(message, InputEnd):
            self.unwatch(self.streams.input)
            if self.streams.end_input():
                self._deposit()  # the spawner lets go of its duplicate, else the container would never see the end
        elif isinstance(message, Resize):
            self.streams.resize(message.rows, message.columns)
        return b""

    # -- the end ------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        spec = self.spec
        if self._ours:
            code = exit_code(os.waitpid(self._pid, 0)[1])
        else:
            code = learn_status(self._pid, self._ticks, self._pidfd, self._hear)
        try:
            self.streams.drain(self._clients.output)
        except OSError as error:
            self._complain(f"the end of its log is lost: {error}")
        end = Exited(code, oom_killed(self._groups, spec.cgroup), time.time_ns())
        end = write_exit_file(spec.exit_path, end, sync=spec.sync)
        self._clients.tell_all(end)
        self._clear_up()

    def _hear(self, seconds: float) -> int | None:
        """The exit code that the spawner told us, waiting up to `seconds` for it."""
        if self._told is None and self._spawner is not None:
            poll = select.poll()
            poll.register(self._spawner.fileno(), select.POLLIN)
            if poll.poll(seconds * 1000):
                self._on_spawner(0)
        elif self._told is None:
            time.sleep(seconds)
        return self._told

    def leave(self) -> None:
        """The last words, once nothing of the container is left."""
        self._clients.farewell()
        if self._spawner is not None:
            self._spawner.send(Done())

    def _clear_up(self) -> None:
        """Remove the cgroup and every file of ours; the last is `supervise`, after which nobody need care."""
        spec = self.spec
        try:
            with open(f"{spec.run_dir}/config.json", "rb") as f:
                config = json.load(f)
            launch.delete(config, bundle=spec.run_dir, id=spec.id, cgroup=spec.cgroup)
        except (OSError, ValueError, KernelError) as error:
            self._complain(f"cgroup {spec.cgroup} is left to the engine: {error}")
        self._remove_files()

    def _remove_files(self, *others: str) -> None:
        for path in (*others, *(f"{self.spec.run_dir}/{name}" for name in _FILES)):
            _remove(path)

    def _complain(self, what: str) -> None:
        os.write(2, f"supervisor of {self.spec.id[:12]}: {what}\n".encode())


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
