"""The spawner: the outermost process of an instance, which forks a supervisor for each container and keeps the daemon.

Single-threaded, with few imports, so that a fork costs a fraction of a millisecond. It never waits for anybody: every
task is a forked process that speaks with the engine over a control socket of its own. It keeps, for each container,
duplicates of the descriptors whose last close would harm it, and is the child subreaper, so that an orphan's exit
status comes here (prctl(2), PR_SET_CHILD_SUBREAPER). If it is killed, supervisors go on alone; the next spawner finds
them by the `supervise` files in the run directory.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from groundplane.kernel.calls import process
from groundplane.kernel.cgroups import registry
from groundplane.kernel.processes import exit_code, start_ticks
from groundplane.runtime import lookups
from groundplane.runtime.resident import slots
from groundplane.runtime.resident.agents import run_exec, run_pin
from groundplane.runtime.resident.channel import Channel, close_all, pair
from groundplane.runtime.resident.descriptors import restore_limit
from groundplane.runtime.resident.forked import settle
from groundplane.runtime.resident.keeper import Keeper
from groundplane.runtime.resident.orders import is_launching, write_order
from groundplane.runtime.resident.zygote import Zygote
from groundplane.wire.spawner import (
    UNKNOWN,
    VERSION,
    Adopt,
    Deposit,
    Done,
    Exec,
    Failed,
    Hello,
    Message,
    Pin,
    Reaped,
    Resume,
    Spawn,
    SpawnerProtocolError,
    decode,
    encode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_RESUME_DELAY = 0.5  # seconds before the next supervisor, where the last one lived no longer than that
_LAUNCHING = 0.02  # seconds between two looks at a container that a former spawner's launcher is making
_STATUSES = 256  # exit statuses kept of orphans whose supervisor has not said yet that they are its


class Ward:
    """One supervised container, as the spawner knows it."""

    __slots__ = ("born_at", "channel", "code", "done", "kept", "pid", "spec")

    def __init__(self, spec: Spawn) -> None:
        self.spec = spec
        self.channel: Channel | None = None
        self.kept: dict[str, int] = {}
        self.pid = 0
        self.code = UNKNOWN
        self.done = False
        self.born_at = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody must supervise it; whoever clears up removes this file last."""
        return os.path.exists(f"{self.spec.run_dir}/supervise")


class Spawner:
    """`run` returns the exit code of this program, once the daemon has ended for good or SIGTERM has come."""

    def __init__(self, run_dir: str, listener: socket.socket, keeper: Keeper | None, nofile: int) -> None:
        """`nofile` is the containers' limit of descriptors."""
        self._run_dir = os.path.realpath(run_dir)
        self._listener = listener
        self._keeper = keeper
        self._groups = registry.detect()
        lookups.prepare()
        self._nofile = nofile
        self._zygote = Zygote(self._groups, nofile)
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._engines: dict[int, Channel] = {}
        self._wards: dict[str, Ward] = {}
        self._orphans: dict[int, int] = {}  # pid → exit code
        self._due: list[tuple[float, Ward]] = []
        self._code: int | None = None
        self._stopping = False

    def run(self) -> int:
        wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            # A handler, not SIG_IGN: only handlers are reset in the processes that we start (execve(2), clone(2)).
            signal.signal(number, _noted)
        self._watch(wakeup, lambda: self._on_signals(wakeup))
        self._watch(self._listener.fileno(), self._on_connect)
        self._adopt_all()
        if self._keeper is not None:
            if self._keeper.pidfd < 0:
                self._keeper.start()
            self._watch_daemon()
        while self._code is None:
            for fd, _ in self._poll.poll(self._pause()):
                if handler := self._handlers.get(fd):
                    handler()
            self._on_time()
        return self._code

    def _watch(self, fd: int, handler: Callable[[], None]) -> None:
        self._poll.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def _unwatch(self, fd: int) -> None:
        del self._handlers[fd]
        self._poll.unregister(fd)

    # -- time ---------------------------------------------------------------------------------------------------

    def _pause(self) -> float:
        due = [at for at, _ in self._due]
        if self._keeper is not None and self._keeper.due:
            due.append(self._keeper.due)
        return max(min(due) - time.monotonic(), 0) if due else -1

    def _on_time(self) -> None:
        now = time.monotonic()
        ready = [ward for at, ward in self._due if at <= now]
        self._due = [(at, ward) for at, ward in self._due if at > now]
        for ward in ready:
            if self._wards.get(ward.spec.id) is ward:
                self._adopt(ward)
        if self._keeper is not None and self._keeper.due and self._keeper.due <= now:
            self._keeper.start()
            self._watch_daemon()

    # -- the daemon ---------------------------------------------------------------------------------------------

    def _watch_daemon(self) -> None:
        assert self._keeper is not None
        self._watch(self._keeper.pidfd, self._on_daemon_end)

    def _on_daemon_end(self) -> None:
        assert self._keeper is not None
        keeper = self._keeper
        self._unwatch(keeper.pidfd)
        try:
            code: int | None = exit_code(os.waitpid(keeper.pid, 0)[1])
        except ChildProcessError:  # it is not our child, or was reaped with the others
            status = process.pidfd_exit_status(keeper.pidfd)
            code = self._orphans.pop(keeper.pid, None if status is None else exit_code(status))
        if self._stopping or not keeper.died(code):
            self._code = 0 if self._stopping else code or 0

    # -- signals ------------------------------------------------------------------------------------------------

    def _on_signals(self, wakeup: int) -> None:
        numbers = os.read(wakeup, 4096)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stopping = True
            if self._keeper is not None and self._keeper.pidfd >= 0:
                process.pidfd_send_signal(self._keeper.pidfd, signal.SIGTERM)
            else:
                self._code = 0
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._note_end(pid, exit_code(status))

    def _note_end(self, pid: int, code: int) -> None:
        for ward in self._wards.values():
            if ward.pid == pid:
                ward.pid, ward.code = 0, code  # reaped: from now on the number may be another's
                if ward.channel is not None:
                    ward.channel.send(Reaped(code))
                return
        self._orphans[pid] = code
        while len(self._orphans) > _STATUSES:
            del self._orphans[next(iter(self._orphans))]

    # -- engines ------------------------------------------------------------------------------------------------

    def _on_connect(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has gone already
            return
        channel = Channel(sock)
        self._engines[channel.fileno()] = channel
        self._watch(channel.fileno(), lambda: self._on_engine(channel))

    def _on_engine(self, channel: Channel) -> None:
        try:
            received = channel.receive()
        except BlockingIOError:
            return
        except SpawnerProtocolError as error:
            _complain(f"an engine is disconnected: {error}")
            received = None
        if received is None:
            self._unwatch(channel.fileno())
            del self._engines[channel.fileno()]
            channel.close()
            return
        message, fds = received
        try:
            self._obey(channel, message, fds)
        except OSError as error:  # no process or descriptor left: who ordered it sees its control socket end
            _complain(f"{type(message).__name__} cannot be obeyed: {error}")
        finally:
            close_all(fds)  # whoever needs them has a copy of this process by now

    def _obey(self, channel: Channel, message: Message, fds: list[int]) -> None:
        if isinstance(message, Hello):
            if self._keeper is not None:
                self._keeper.spoke = True
            channel.send(Hello(VERSION, os.getpid()))
        elif isinstance(message, Done):
            if self._keeper is not None:
                self._keeper.leaving = True
        elif isinstance(message, Spawn) and fds and self._acceptable(message):
            self._spawn(message, fds)
        elif isinstance(message, Exec) and len(fds) == 2 + len(message.stdio):
            cache = f"{self._run_dir}/seccomp"
            self._fork(
                "ground-exec",
                fds,
                lambda: run_exec(message, Channel.of_fd(fds[0]), fds[1], fds[2:], seccomp_cache=cache),
            )
        elif isinstance(message, Pin) and len(fds) == 1:
            self._fork("ground-pin", fds, lambda: run_pin(message, Channel.of_fd(fds[0])))
        else:
            _complain(f"an order that cannot be obeyed, with {len(fds)} descriptors: {message!r}")

    def _acceptable(self, spec: Spawn) -> bool:
        """Only below our own run directory, and one supervisor a container: two would steal each other's bytes."""
        known = self._wards.get(spec.id)
        if known is not None and not known.is_wanted:  # cleared up; it may still be taking leave of slow clients
            self._forget(known)
        return spec.run_dir == f"{self._run_dir}/c/{spec.id[:12]}" and spec.id not in self._wards

    # -- supervisors --------------------------------------------------------------------------------------------

    def _spawn(self, spec: Spawn, fds: list[int]) -> None:
        try:
            guard = write_order(spec)
        except OSError as error:  # a full disk, or its directory has gone
            refusal = Channel.of_fd(os.dup(fds[0]))
            refusal.send(Failed(128, f"the order to supervise it cannot be written: {error}"))
            refusal.close()
            return
        ward = Ward(spec)
        try:
            ends = pair()  # between supervisor and launcher; made here, because there it would cost pages
            os.set_blocking(fds[0], False)  # likewise
            try:
                self._fork_supervisor(ward, spec, [*(end.fileno() for end in ends), guard, *fds])
            finally:
                for end in ends:
                    end.close()
        except OSError:  # nobody supervises, and nobody need
            os.unlink(f"{spec.run_dir}/supervise")
            raise
        finally:
            os.close(guard)
        self._wards[spec.id] = ward

    def _resume(self, ward: Ward) -> None:
        """Another supervisor in place of a dead one, over the same streams; later, where this host has no room now."""
        order = Resume(encode(ward.spec), list(ward.kept), ward.code)
        try:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)  # in the slots of what only a start has
            try:
                self._fork_supervisor(ward, order, [*[null] * (slots.END - slots.LAUNCHER), *ward.kept.values()])
            finally:
                os.close(null)
        except OSError as error:
            _complain(f"no supervisor for {ward.spec.id[:12]} yet: {error}")
            self._due.append((time.monotonic() + _RESUME_DELAY, ward))

    def _fork_supervisor(self, ward: Ward, order: Spawn | Resume, fds: list[int]) -> None:
        ours, theirs = pair()
        theirs.setblocking(False)  # here, because there it would cost pages
        ward.born_at = time.monotonic()
        try:
            self._zygote.fork(order, [theirs.fileno(), *fds])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._follow(ward, Channel(ours))

    def _follow(self, ward: Ward, channel: Channel) -> None:
        ward.channel = channel
        self._watch(channel.fileno(), lambda: self._on_supervisor(ward, channel))

    def _on_supervisor(self, ward: Ward, channel: Channel) -> None:
        try:
            received = channel.receive()
        except BlockingIOError:
            return
        except SpawnerProtocolError as error:  # cut short, because we have no descriptor left for what came with it
            _complain(f"of the supervisor of {ward.spec.id[:12]}: {error}")
            return
        if received is None:
            self._let_go(ward)
            self._supervisor_gone(ward)
            return
        message, fds = received
        if isinstance(message, Deposit):
            close_all(ward.kept.values())
            ward.kept = dict(zip(message.names, fds, strict=True))
            ward.pid = message.pid
            code = self._orphans.pop(message.pid, None)
            if code is not None and start_ticks(message.pid) != message.ticks:  # else it is a former one's of that pid
                ward.pid, ward.code = 0, code
                channel.send(Reaped(code))
        elif isinstance(message, Done):
            ward.done = True

    def _supervisor_gone(self, ward: Ward) -> None:
        if ward.done or not ward.is_wanted:
            self._forget(ward)
        elif time.monotonic() - ward.born_at < _RESUME_DELAY:
            self._due.append((time.monotonic() + _RESUME_DELAY, ward))
        else:
            self._resume(ward)

    def _let_go(self, ward: Ward) -> None:
        if ward.channel is not None:
            self._unwatch(ward.channel.fileno())
            ward.channel.close()
            ward.channel = None

    def _forget(self, ward: Ward) -> None:
        self._let_go(ward)
        close_all(ward.kept.values())
        del self._wards[ward.spec.id]

    def _adopt_all(self) -> None:
        """Find the containers of a former spawner: speak to each supervisor, or fork one where there is none."""
        try:
            names = os.listdir(f"{self._run_dir}/c")
        except FileNotFoundError:
            return
        for name in names:
            try:
                with open(f"{self._run_dir}/c/{name}/supervise", "rb") as f:
                    spec = decode(f.read())
            except FileNotFoundError:
                continue
            except SpawnerProtocolError as error:
                _complain(f"{name} was not ordered: {error}")  # a spawner was killed before it had written all
                os.unlink(f"{self._run_dir}/c/{name}/supervise")
                continue
            if isinstance(spec, Spawn) and self._acceptable(spec):
                ward = self._wards[spec.id] = Ward(spec)
                self._adopt(ward)

    def _adopt(self, ward: Ward) -> None:
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            _complain(f"{ward.spec.id[:12]} is not looked for yet: {error}")
            self._due.append((time.monotonic() + _RESUME_DELAY, ward))
            return
        try:
            sock.connect(f"{ward.spec.run_dir}/sock")
        except OSError:  # nobody listens: its supervisor is dead as well, or does not listen yet
            sock.close()
            if not ward.is_wanted:
                self._forget(ward)
            elif is_launching(ward.spec):
                self._due.append((time.monotonic() + _LAUNCHING, ward))
            else:
                self._resume(ward)
            return
        channel = Channel(sock)
        channel.send(Adopt())
        self._follow(ward, channel)

    # -- forking ------------------------------------------------------------------------------------------------

    def _fork(self, name: str, fds: list[int], work: Callable[[], None]) -> None:
        """Do `work` in a process of its own that has only `fds` of our descriptors."""
        if os.fork():
            return
        try:
            settle(name.encode(), (0, 1, 2, *fds))
            restore_limit(self._nofile)
            work()
        except Exception as error:  # noqa: BLE001 because this is a process's outermost frame: say why it dies
            _complain(f"{name} ends: {error!r}")
            os._exit(1)
        finally:
            os._exit(0)


def _noted(_number: int, _frame: object) -> None:
    """The wakeup descriptor tells the loop; this only takes the place of the default action."""


def _complain(what: str) -> None:
    os.write(2, f"spawner: {what}\n".encode())
