"""From start to end of a container's runs: the one place that moves its state.

Each running container has one task, `_watch`, that holds its supervisor's connection: through it the end comes. If
the supervisor dies, the task looks for the one that the spawner forks in its place; if that too is not to be found, it
reads the end file, and at last asks the kernel through the pidfd.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
from collections.abc import Sequence

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.engine.containers import bundle
from groundplane.engine.containers.events import EngineEvents
from groundplane.engine.containers.link import Link
from groundplane.engine.containers.places import Places
from groundplane.engine.containers.record import Record, read_end, save_state
from groundplane.engine.containers.supervised import StartFailed, Supervised, SupervisorLost, is_supervised
from groundplane.engine.contract import BadParameter, Conflicting, EngineError, EngineEvent, State
from groundplane.engine.snapshots.contract import Snapshots
from groundplane.kernel.calls import process
from groundplane.kernel.cgroups.contract import Groups
from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import exit_code, open_process
from groundplane.wire.spawner import UNKNOWN, Exited, Spawn

_log = Log("engine.containers")
_SEARCH = 15.0  # seconds to look for the supervisor that replaces a dead one: its spawner may be replaced as well
_POLL = 0.02
_ATTEMPTS = 5
_REAL_TIME = re.compile(r"RTMIN\+([0-9]{1,2})|RTMAX-([0-9]{1,2})", re.ASCII)  # signal(7)


class Lives:
    """Starts containers, notes their ends, signals them."""

    def __init__(
        self,
        places: Places,
        snapshots: Snapshots,
        link: Link,
        groups: Groups,
        events: EngineEvents,
        clock: Clock,
    ) -> None:
        self._places = places
        self._snapshots = snapshots
        self._link = link
        self._groups = groups
        self._events = events
        self._clock = clock
        self._tasks = Tasks("engine.containers")
        self._groups_made: set[str] = set()

    async def close(self) -> None:
        """Stop watching; the containers go on."""
        await self._tasks.stop()

    def tell(self, record: Record, action: str, code: int | None = None) -> None:
        self._events.tell(EngineEvent(action, record.id, self._now(), record.spec.labels, code))

    def _now(self) -> int:
        return int(self._clock.time() * 1e9)

    # -- start --------------------------------------------------------------------------------------------------

    async def start(self, record: Record, attached: Sequence[socket.socket]) -> None:
        """Run it; returns once its program runs. Raises EngineError; the state is then EXITED, with Docker's code."""
        await self.settled(record)
        try:
            await self._start(record, attached)
        except (EngineError, KernelError, OSError) as error:
            self._failed(record, error)
            if isinstance(error, EngineError):
                raise
            raise EngineError(str(error)) from error

    async def _start(self, record: Record, attached: Sequence[socket.socket]) -> None:
        record.rootfs = self._snapshots.mount(record.id)
        self._make_parent_group(record)
        order = bundle.prepare(record, self._places, layout=self._groups.layout)
        self._places.end_file(record.id).unlink(missing_ok=True)  # of the former run; the state file has it
        self._started(record, await self._spawned(record, order, attached))

    async def _spawned(self, record: Record, order: Spawn, attached: Sequence[socket.socket]) -> Supervised:
        """Whoever of spawner and supervisor is killed meanwhile, the container runs once, or not at all."""
        for _ in range(_ATTEMPTS):
            try:
                return await Supervised.spawn(self._link, order, attached)
            except SupervisorLost:
                # The spawner died before it read the order, or the supervisor at its birth; in the second case the
                # next one is found, or has found that nothing ran.
                if (found := await self.find(record)) is not None:
                    return found
                await self._clock.sleep(_POLL)
        raise EngineError("no supervisor lived long enough to start the container; is this host out of memory?")

    def _make_parent_group(self, record: Record) -> None:
        """Before several launchers make the same one at once: a cpuset is unusable until its CPUs are copied."""
        parent = self._places.cgroup(record.id, record.spec.cgroup_parent).rpartition("/")[0]
        if parent not in self._groups_made:
            self._groups.create(parent)
            self._groups_made.add(parent)

    def _started(self, record: Record, supervised: Supervised) -> None:
        started = supervised.started.result()
        for sentence in started.warnings:
            _log.warning("this host does not grant everything", container=record.id[:12], why=sentence)
        record.begin(started)
        self._follow(record, supervised)
        save_state(record, self._places.directory(record.id))
        record.announce()
        self.tell(record, "start")

    def adopt(self, record: Record, supervised: Supervised) -> None:
        """Go on with a container that a former engine started, be it only as far as the order to its spawner."""
        started = supervised.started.result()
        if record.state is not State.RUNNING:  # the former one was killed before it could note the start
            record.begin(started)
            save_state(record, self._places.directory(record.id))
        try:
            record.rootfs = self._snapshots.mount(record.id)
        except EngineError as error:  # it runs all the same, and must not keep the engine from starting
            _log.error("root file system cannot be seen", container=record.id[:12], error=str(error))
        self._follow(record, supervised)

    def _follow(self, record: Record, supervised: Supervised) -> None:
        record.supervised = supervised
        record.pidfd = open_process(record.pid, record.ticks)
        self._tasks.start(f"watch {record.id[:12]}", self._watch(record, supervised))

    def _failed(self, record: Record, error: Exception) -> None:
        record.move("fail")
        record.error = str(error)
        record.exit_code = error.code if isinstance(error, StartFailed) else 128
        record.finished_at = self._now()
        save_state(record, self._places.directory(record.id))
        self._unmount(record)
        record.announce()
        self.tell(record, "die", record.exit_code)

    # -- end ----------------------------------------------------------------------------------------------------

    async def _watch(self, record: Record, supervised: Supervised) -> None:
        try:
            while (end := await supervised.ended) is None:
                if (end := self._left_end(record)) is not None:
                    break
                if (found := await self.find(record)) is None:
                    if _runs(record.pidfd):  # it does, and nobody can supervise it: look again later
                        _log.error("no supervisor for a running container", container=record.id[:12], pid=record.pid)
                        await self._clock.sleep(_SEARCH)
                        continue
                    end = self._left_end(record) or Exited(self._kernel_code(record), False, self._now())
                    break
                record.supervised = supervised = found
            self._ended(record, end)
            await supervised.gone
            await self._cleared(record)
        finally:
            supervised.close()
        self._removed(record)

    async def _cleared(self, record: Record) -> None:
        """Wait for who clears up after a supervisor that was killed when it had written the end.

        Another run in the same places must not meet it: it would take that one's end file for missing.
        """
        run_dir = str(self._places.run_dir(record.id))
        deadline = self._clock.monotonic() + _SEARCH
        while is_supervised(run_dir) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL)

    def _left_end(self, record: Record) -> Exited | None:
        end = read_end(self._places.end_file(record.id))
        return None if end is None else Exited(end.code, end.oom, end.at)

    async def find(self, record: Record) -> Supervised | None:
        """The supervisor that took over; None where there is none and none will come."""
        run_dir = str(self._places.run_dir(record.id))
        deadline = self._clock.monotonic() + _SEARCH
        while is_supervised(run_dir) and self._clock.monotonic() < deadline:
            try:
                return await Supervised.connect(run_dir)
            except (OSError, SupervisorLost):
                await self._clock.sleep(_POLL)
        return None

    def _kernel_code(self, record: Record) -> int:
        status = process.pidfd_exit_status(record.pidfd) if record.pidfd >= 0 else None
        return UNKNOWN if status is None else exit_code(status)

    def _ended(self, record: Record, end: Exited) -> None:
        code = end.code
        if code == UNKNOWN:
            code = self._kernel_code(record)
        record.move("end")
        record.exit_code = None if code == UNKNOWN else code
        record.oom_killed = end.oom
        record.finished_at = end.at
        if record.pidfd >= 0:
            os.close(record.pidfd)
            record.pidfd = -1
        save_state(record, self._places.directory(record.id))
        self._unmount(record)
        record.announce()
        if end.oom:
            self.tell(record, "oom")
        self.tell(record, "die", record.exit_code)

    def _removed(self, record: Record) -> None:
        """The supervisor has cleared up and gone: it may start again, or be removed."""
        record.supervised = None
        record.announce()

    def _unmount(self, record: Record) -> None:
        try:
            self._snapshots.unmount(record.id)
        except EngineError as error:
            _log.error("root file system stays mounted", container=record.id[:12], error=str(error))

    async def settled(self, record: Record) -> None:
        """Wait until the supervisor of a container that has ended is gone."""
        while record.state is not State.RUNNING and record.supervised is not None:
            await record.changed.wait()

    # -- signals ------------------------------------------------------------------------------------------------

    def signal(self, record: Record, number: int) -> None:
        """Send it to the container's init. Raises Conflicting where that has ended."""
        if record.state is not State.RUNNING:
            raise Conflicting(f"cannot kill container: {record.name}: container {record.id} is not running")
        if record.pidfd < 0:  # it ended before its pidfd could be opened; the end is on its way
            return
        try:
            process.pidfd_send_signal(record.pidfd, number)
        except KernelError as error:
            if not isinstance(error, KernelError) or error.errno != 3:  # ESRCH: it has just ended
                raise EngineError(f"cannot kill container {record.id[:12]}: {error}") from error

    async def stop(self, record: Record, number: int, timeout: float) -> None:
        """`number`, and SIGKILL after `timeout` seconds (negative: never); returns once it has ended."""
        if record.state is not State.RUNNING:
            return
        self.signal(record, number)
        if not await self.until_ended(record, timeout):
            self.signal(record, signal.SIGKILL)
            await self.until_ended(record, -1)

    async def until_ended(self, record: Record, timeout: float) -> bool:
        """Whether it has ended, waiting at most `timeout` seconds (negative: for ever)."""
        sleeper = None if timeout < 0 else asyncio.ensure_future(self._clock.sleep(timeout))
        try:
            while record.state is State.RUNNING:
                change = asyncio.ensure_future(record.changed.wait())
                waiting = {change} if sleeper is None else {change, sleeper}
                try:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
                if sleeper is not None and sleeper.done():
                    return record.state is not State.RUNNING
            return True
        finally:
            if sleeper is not None:
                sleeper.cancel()


def _runs(pidfd: int) -> bool:
    """Whether the process has not ended yet: a pidfd is readable from its end on (pidfd_open(2))."""
    if pidfd < 0:
        return False
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def signal_number(text: str) -> int:
    """Of `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `SIGRTMAX-3`. Raises BadParameter."""
    name = text.upper().removeprefix("SIG")
    number = 0
    if name.isascii() and name.isdigit():
        number = int(name)
    elif match := _REAL_TIME.fullmatch(name):
        number = int(signal.SIGRTMIN) + int(match[1]) if match[1] else int(signal.SIGRTMAX) - int(match[2])
    elif f"SIG{name}" in signal.Signals.__members__:
        number = signal.Signals[f"SIG{name}"]
    if not 0 < number <= signal.SIGRTMAX:
        raise BadParameter(f"Invalid signal: {text}")
    return int(number)
