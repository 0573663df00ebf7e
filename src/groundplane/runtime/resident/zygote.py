"""The zygote: a process that does nothing but fork supervisors, so that they share its pages.

Memory is shared between parent and child until one of them writes, and in CPython even looking at an object writes its
reference count. So a supervisor is forked from a process that has made all that it needs (`Supervisor`, over the
descriptors of `slots.py`) and then only waits in recvmsg(2); and it does next to nothing itself: what makes a container
is done by its launcher (`launcher.py`). Measured: docs/design/processes.md.

    spawner                       zygote                      supervisor                    launcher
      | Spawn + fds --------------> | fork ---------------------> | fork --------------------> |
      |                             | waits                       | waits for its descriptors  | makes the container

The zygote is no subreaper, and reaps nothing (SIGCHLD ignored, wait(2)): a dead supervisor's container becomes the
spawner's child. It ends when the spawner does; if it is killed, the spawner forks another.
"""

from __future__ import annotations

import os
import socket
from struct import pack

from groundplane.runtime.resident import slots
from groundplane.runtime.resident.channel import CLOEXEC, ROOM, pair
from groundplane.runtime.resident.descriptors import restore_limit
from groundplane.runtime.resident.forked import settle
from groundplane.runtime.resident.supervisor import Supervisor
from groundplane.wire.spawner import MAX_MESSAGE, Resume, Spawn, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from groundplane.kernel.cgroups.contract import Groups
else:
    import _signal as signal

_STANDARD = (0, 1, 2)


class Zygote:
    """The spawner's side."""

    def __init__(self, groups: Groups, nofile: int) -> None:
        """`nofile` is the containers' limit of descriptors."""
        self._groups = groups
        self._nofile = nofile
        self._sock = self._start()

    def _start(self) -> socket.socket:
        ours, theirs = pair()
        if os.fork() == 0:
            try:
                settle(b"ground-superv", (*_STANDARD, theirs.fileno()))
                restore_limit(self._nofile)
                _wait_and_fork(theirs, self._groups)
            finally:
                os._exit(0)
        theirs.close()
        return ours

    def fork(self, order: Spawn | Resume, fds: Sequence[int]) -> None:
        """A supervisor for this order; the first descriptor is its end of a socket pair with us."""
        data = encode(order)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))]
        try:
            self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        except ConnectionError:  # it was killed
            self._sock.close()
            self._sock = self._start()
            self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def _wait_and_fork(sock: socket.socket, groups: Groups) -> None:
    """The zygote's whole life."""
    slots.fill(slots.ZYGOTE, sock.detach())
    slots.reserve(taken=slots.ZYGOTE)
    sock = socket.socket(fileno=slots.ZYGOTE)
    supervisor = Supervisor(groups)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        slots.await_order()
        data, extra, _, _ = sock.recvmsg(MAX_MESSAGE, ROOM, CLOEXEC)
        if not data:
            return
        if os.fork() == 0:
            _supervise(supervisor, data, len(extra[0][2]) // 4)


def _supervise(supervisor: Supervisor, order: bytes, count: int) -> None:
    """A supervisor's whole life, with `count` descriptors from the first of an order's slots on."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # its name and session it has from the zygote
        supervisor.run(order, count)
        code = 0
    except Exception as error:  # noqa: BLE001 because this is a process's outermost frame: say why it dies
        os.write(2, f"a supervisor ends: {error!r}\n".encode())
    finally:
        os._exit(code)
