"""A launcher: a short-lived process, forked from a supervisor, that does everything until the container runs.

Because that touches most of the interpreter's memory: done in the supervisor itself, its pages would no longer be
shared with the zygote, 4 MB for each container. The container is made as the launcher's sibling (clone(2),
CLONE_PARENT), so it is the supervisor's child from its first moment.

It makes the run directory's files, the container up to its gate, deposits the streams with the spawner, hands the
supervisor its descriptors, opens the gate, and tells the engine (Started, or Failed, after which nothing is left). A
launcher that is killed leaves a container that sees its gate close and ends; so does one whose supervisor was killed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from struct import pack

from groundplane.kernel.processes import open_process, start_ticks
from groundplane.runtime import deletion, launch
from groundplane.runtime.failures import LaunchError
from groundplane.runtime.resident import slots
from groundplane.runtime.resident.channel import AF_UNIX, CLOEXEC, ROOM, SEQPACKET, Channel, close_all
from groundplane.runtime.resident.streams import Ends
from groundplane.wire.spawner import Deposit, Failed, Message, Spawn, Started, decode

_FILES = ("stdout", "stderr", "journal", "spool.1.0", "spool.1.1", "spool.2.0", "spool.2.1", "sock", "pid", "supervise")


class _Orphaned(Exception):
    """The supervisor was killed before the container ran: the engine sees our end, and orders again."""


class Handover:
    """What the supervisor must know of its container, from the `pid` file, because that survives a supervisor."""

    __slots__ = ("at", "pid", "ticks")

    def __init__(self) -> None:
        self.pid = self.ticks = self.at = 0

    def read(self, run_dir: str) -> bool:
        """Whether there is such a file, that is, a container."""
        if self.pid:
            return True
        try:
            with open(f"{run_dir}/pid", "rb") as f:
                self.pid, self.ticks, self.at = map(int, f.read().split())
        except (FileNotFoundError, ValueError):
            return False
        return True


def launch_apart(order: bytes, link: socket.socket) -> tuple[int, bool]:
    """Fork a launcher, which fills the slots; how many it filled, or 0 where the container does not run.

    And whether it was killed, so that it has told nobody. What it had handed over by then is ours: the container runs,
    or has seen its gate close and ends.

    `link` is over its slot. Runs in the supervisor, so: few lines, few objects.
    """
    launcher = os.fork()
    if launcher == 0:
        os.close(slots.ZYGOTE)
        os.close(slots.LAUNCHER)
        _work(order, socket.socket(fileno=slots.OTHER_END))
    slots.await_launcher()
    number, _, _, _ = link.recvmsg(1, ROOM, CLOEXEC)
    filled, whole = 0, False
    if number:
        filled = number[0]
        try:
            link.send(b"1")  # we have them: the gate may be opened
            whole = link.recv(1) == b"1"
        except (BrokenPipeError, ConnectionResetError):
            pass
    killed = os.WIFSIGNALED(os.waitpid(launcher, 0)[1])
    os.close(slots.LAUNCHER)
    return filled if whole or killed else 0, killed and not whole


def _work(order: bytes, link: socket.socket) -> None:
    """The launcher's whole life."""
    try:
        spec = decode(order)
        assert isinstance(spec, Spawn)
        spawner = Channel.of_fd(slots.SPAWNER)  # to our end: then only does the spawner see a killed supervisor's end
        try:
            _make(spec, link, spawner)
        except _Orphaned:
            _undo(spec)
        except Exception as error:  # noqa: BLE001 because nobody else would tell the one who waits
            _undo(spec)
            # Docker's codes: 127 not found, 126 not executable, 128 for every other reason of its runtime.
            code = error.exit_code if isinstance(error, LaunchError) and error.exit_code > 1 else 128
            _tell(Failed(code, str(error)))
    finally:
        os._exit(0)


def _make(spec: Spawn, link: socket.socket, spawner: Channel) -> None:
    for path in (spec.exit_path, *_paths(spec)[:-1]):
        remove(path)
    with open(f"{spec.run_dir}/config.json", "rb") as f:
        config = json.load(f)
    ends = Ends(spec)
    created = launch.create(
        config,
        bundle=spec.run_dir,
        id=spec.id,
        stdio=ends.stdio,
        cgroup=spec.cgroup,
        console=spec.terminal,
        sibling=True,
        seccomp_cache=seccomp_cache(spec.run_dir),
        lenient=True,  # as docker: the warning goes to whoever created it
    )
    close_all(ends.stdio)
    try:
        ticks, at = start_ticks(created.pid), time.time_ns()
        write_file(f"{spec.run_dir}/pid", b"%d %d %d" % (created.pid, ticks, at))
        ends.take_terminal(created.console_fd)
        kept = ends.deposit()
        spawner.send(Deposit(created.pid, ticks, list(kept)), list(kept.values()))
        listener = listen(spec.run_dir)
        fds = [listener, open_process(created.pid, ticks), *ends.handed_over()]  # in the order of the slots
        if not _handed_over(link, fds):
            raise _Orphaned
    except BaseException:
        created.abort()
        raise
    created.start()
    try:  # from here on there is nothing to undo: if the supervisor is killed now, the next one goes on
        _tell(Started(created.pid, ticks, at, list(created.warnings)))
        link.send(b"1")
    except OSError:
        pass


def _handed_over(link: socket.socket, fds: list[int]) -> bool:
    """Whether the supervisor has the descriptors; no, where it was killed before or after they were sent."""
    filled = len(fds)
    while len(fds) < slots.ZYGOTE - slots.LISTENER:
        fds.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    try:
        link.sendmsg([bytes((filled,))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))])
        return link.recv(1) == b"1"
    except (BrokenPipeError, ConnectionResetError):
        return False


def seccomp_cache(run_dir: str) -> str:
    """Where compiled system call filters are kept for all containers of the instance: RUN/seccomp."""
    return f"{os.path.dirname(os.path.dirname(run_dir))}/seccomp"


def _tell(message: Message) -> None:
    """The engine: the one that gave the order, and those that were attached before."""
    Channel.of_fd(slots.CONTROL).send(message)


def _undo(spec: Spawn) -> None:
    try:
        with open(f"{spec.run_dir}/config.json", "rb") as f:
            config = json.load(f)
        deletion.delete(config, bundle=spec.run_dir, id=spec.id, cgroup=spec.cgroup)
    except Exception as error:  # noqa: BLE001 because the rest has to be taken away all the same
        os.write(2, f"launcher of {spec.id[:12]}: cgroup {spec.cgroup} is left to the engine: {error}\n".encode())
    remove_files(spec)


def listen(run_dir: str) -> int:
    """A socket where engines and spawners find the supervisor."""
    remove(f"{run_dir}/sock")
    listener = socket.socket(AF_UNIX, SEQPACKET)
    listener.setblocking(False)
    listener.bind(f"{run_dir}/sock")
    listener.listen(16)
    return listener.detach()


def remove_files(spec: Spawn) -> None:
    """Every file of a supervisor; `supervise` last, after which nobody need care."""
    for path in _paths(spec):
        remove(path)


def _paths(spec: Spawn) -> list[str]:
    return [f"{spec.run_dir}/{name}" for name in _FILES]


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def write_file(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
