"""A supervisor: one process that owns one container's streams, knows its end, and leaves it in a file.

Its parent may die: it then goes on alone, and a new spawner finds it by its socket. It may itself be killed at any
moment: the container goes on, and another supervisor is forked that resumes where it stopped. It is made to own little
memory: see `slots.py`, `zygote.py` and `launcher.py`, which does all that comes before the container runs.

In the run directory `c/<id12>/` are, while it runs: `supervise` (its order, see `orders.py`), `stdout` and `stderr`
(FIFOs), `spool.*` and `journal` (see `output.py`), `pid` (`<pid> <start ticks> <start in ns>`), `sock` (where it
listens). All are gone when it has ended.
"""

from __future__ import annotations

import json
import os
import select
import time

from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import open_process
from groundplane.runtime import deletion
from groundplane.runtime.resident import slots
from groundplane.runtime.resident.channel import Channel
from groundplane.runtime.resident.clients import Client, Clients
from groundplane.runtime.resident.ending import (
    learn_status,
    oom_killed,
    read_exit_file,
    reap,
    status_of_child,
    write_exit_file,
)
from groundplane.runtime.resident.launcher import Handover, launch_apart, listen, remove_files
from groundplane.runtime.resident.streams import Streams
from groundplane.wire.spawner import (
    UNKNOWN,
    Deposit,
    Done,
    Exited,
    Input,
    InputEnd,
    Message,
    Reaped,
    Resize,
    Resume,
    Spawn,
    Started,
    decode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from groundplane.kernel.cgroups.contract import Groups

_RESUME = Resume.kind
_RETRY = 1000  # milliseconds between attempts to write a log that a full disk refused


class Supervisor:
    """One container's keeper. Built by the zygote over empty slots; `run` is the life of the process forked from it."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._order = b""
        self._spec: Spawn | None = None
        self._poll = select.poll()  # not epoll(7), which is a descriptor that forks would share
        self._handlers: dict[int, Callable[[int], None]] = {}
        self.streams = Streams(lambda: self.spec)
        self._spawner: Channel | None = Channel.over(slots.SPAWNER)
        self._launcher = Channel.over(slots.LAUNCHER).sock
        self._launcher.setblocking(True)
        self._listener = Channel.over(slots.LISTENER).sock
        self._control = Client(Channel.over(slots.CONTROL))
        self._clients = Clients(self)
        self._clients.add(self._control)
        self._handover = Handover()
        self._ours = False  # whether the container is our child
        self._told: int | None = None  # its exit code, in the spawner's words
        self._ended = False
        self._has_pidfd = True
        self._disk_full = False
        self.watch(slots.SPAWNER, select.POLLIN, self._on_spawner)
        self.watch(slots.LISTENER, select.POLLIN, self._on_connect)
        self.watch(slots.PIDFD, select.POLLIN, self._on_end)
        self._on_streams = {
            slots.STDOUT: lambda _events: self._on_output(1),
            slots.STDERR: lambda _events: self._on_output(2),
        }
        self.proceed()

    @property
    def spec(self) -> Spawn:
        """Read from the order when it is first asked for: an idle container never asks."""
        if self._spec is None:
            order = decode(self._order)
            if isinstance(order, Resume):
                order = decode(order.order)
            assert isinstance(order, Spawn)
            self._spec = order
        return self._spec

    def run(self, order: bytes, count: int) -> None:
        """Supervise one container from here to its end; `count` descriptors came with the order."""
        self._order = order
        if order[0] == _RESUME:
            going = self._resume(range(slots.END, slots.SPAWNER + count))
        else:
            going = self._start(count)
        if going:
            self._loop()
            self._finish()
        self._clients.farewell()
        if self._spawner is not None:
            self._spawner.send(Done())

    # -- beginning ----------------------------------------------------------------------------------------------

    def _start(self, count: int) -> bool:
        """Have a launcher make the container; whether it runs. The launcher tells the engine either way."""
        if count > slots.END - slots.SPAWNER:
            for fd in range(slots.END, slots.SPAWNER + count):
                self._clients.add(Client(Channel.of_fd(fd), attached=True))
        filled, lost = launch_apart(self._order, self._launcher)
        if lost and not (filled and self._tell_start(self._control)):
            self._clear_up()
            return False
        self.streams.has_input = filled > 4
        self.streams.has_terminal = filled > 5
        self._watch_terminal()
        self._ours = filled > 0
        return self._ours

    def _resume(self, fds: Iterable[int]) -> bool:
        """Go on in place of a killed supervisor; whether there is still anything to supervise."""
        os.close(slots.ZYGOTE)
        os.closerange(slots.LAUNCHER, slots.CONTROL)
        order = decode(self._order)
        assert isinstance(order, Resume)
        self._clients.drop(self._control)
        if order.code != UNKNOWN:
            self._told = order.code
        if read_exit_file(self.spec.exit_path) is not None or not self._handover.read(self.spec.run_dir):
            # Killed after the end was written, or before the container ran: its init saw that and has left.
            self._clear_up()
            return False
        kept = dict(zip(order.names, fds, strict=True))
        self.streams.reopen(kept)
        slots.fill(slots.LISTENER, listen(self.spec.run_dir))
        if (pidfd := open_process(self._handover.pid, self._handover.ticks)) >= 0:
            slots.fill(slots.PIDFD, pidfd)
        else:
            self.unwatch(slots.PIDFD)
            self._has_pidfd, self._ended = False, True
        self._watch_terminal()
        self._deposit()
        self._record()
        return True

    def _deposit(self) -> None:
        if self._spawner is not None:
            self._handover.read(self.spec.run_dir)
            kept = self.streams.deposit()
            self._spawner.send(Deposit(self._handover.pid, self._handover.ticks, list(kept)), list(kept.values()))

    # -- the loop -----------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._ended:
            for fd, events in self._poll.poll(_RETRY if self._disk_full else None):
                if handler := self._handlers.get(fd):
                    handler(events)
            if self._disk_full:
                self._disk_full = False
                self.proceed()
                self._record()

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with what poll(2) reports of `fd`; replaces a former watch of it."""
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def pause(self) -> None:
        """Stop reading the streams: an attached client or the log's disk is behind, and the container has to wait."""
        for fd in (slots.STDOUT, slots.STDERR, slots.MASTER):
            self.unwatch(fd)

    def proceed(self) -> None:
        """Read the streams again, unless something else is still behind."""
        if self._disk_full or self._ended or self._clients.behind:
            return
        for fd, handler in self._on_streams.items():
            self.watch(fd, select.POLLIN, handler)
        self._watch_terminal()

    def _watch_terminal(self) -> None:
        if self.streams.has_terminal:
            self.watch(slots.MASTER, select.POLLIN, self._on_terminal)

    def _on_output(self, stream: int) -> None:
        try:
            data = self.streams.take(stream)
        except OSError:
            self._hold_back()
            return
        if data:
            self._clients.output(stream, data)
            self._record()

    def _record(self) -> None:
        try:
            self.streams.recorder.record()
        except OSError:
            self._hold_back()

    def _hold_back(self) -> None:
        """ENOSPC, EDQUOT, EIO: what was taken waits in its spool, the rest in the FIFOs."""
        self._disk_full = True
        self.pause()

    def _on_terminal(self, _events: int) -> None:
        if not self.streams.pump():
            self.unwatch(slots.MASTER)  # hung up; the pidfd tells of the end

    def _on_end(self, _events: int) -> None:
        self._ended = True

    def _on_connect(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # the caller has gone already
            return
        self._tell_start(self._clients.add(Client(Channel(sock))))

    def _tell_start(self, client: Client) -> bool:
        """Whether there is anything to tell."""
        h = self._handover
        if is_there := h.read(self.spec.run_dir):
            client.channel.send(Started(h.pid, h.ticks, h.at, []))
        return is_there

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
        self.watch(channel.fileno(), select.POLLIN, self._on_spawner)
        self._deposit()

    def answer(self, message: Message) -> bytes:
        """Perform a client's message; input that does not fit now is returned, to be offered again."""
        if isinstance(message, Input):
            return self.streams.feed(message.data)
        if isinstance(message, InputEnd):
            if self.streams.end_input():
                self.unwatch(slots.INPUT)
                self._clients.input_ended()
                self._deposit()  # the spawner lets go of its duplicate, else the container would never see the end
        elif isinstance(message, Resize):
            self.streams.resize(message.rows, message.columns)
        return b""

    # -- the end ------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        spec, handover = self.spec, self._handover
        handover.read(spec.run_dir)
        code = status_of_child(handover.pid) if self._ours else None
        if code is None:
            pidfd = slots.PIDFD if self._has_pidfd else -1
            code = learn_status(handover.pid, handover.ticks, pidfd, self._hear)
        try:
            self.streams.drain(self._clients.output)
        except OSError as error:
            self._complain(f"the end of its log is lost: {error}")
        end = Exited(code, oom_killed(self._groups, spec.cgroup), time.time_ns())
        try:
            end = write_exit_file(spec.exit_path, end, started_at=handover.at, sync=spec.sync)
        except OSError as error:  # a full disk: the engine that listens knows it all the same, and can make room
            self._complain(f"its end is not written, only told: {error}")
        if self._ours:
            reap(handover.pid)
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

    def _clear_up(self) -> None:
        spec = self.spec
        try:
            clear_up(spec)
        except (OSError, ValueError, KernelError) as error:
            self._complain(f"cgroup {spec.cgroup} is left to the engine: {error}")
        remove_files(spec)

    def _complain(self, what: str) -> None:
        os.write(2, f"supervisor of {self.spec.id[:12]}: {what}\n".encode())


def clear_up(spec: Spawn) -> None:
    """Remove what the runtime has made outside the container: its cgroup."""
    with open(f"{spec.run_dir}/config.json", "rb") as f:
        config = json.load(f)
    deletion.delete(config, bundle=spec.run_dir, id=spec.id, cgroup=spec.cgroup)
