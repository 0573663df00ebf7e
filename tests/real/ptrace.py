"""Stops processes at each of their system calls: the part of ptrace(2) that the tests' tracer needs, and its loop.

PTRACE_SEIZE attaches to running threads without a signal; forked children are attached by the kernel before their
first instruction, so nothing that they do is missed. A process that is killed while it stands at the entry of a system
call does not perform it (kernel/entry/common.c: a fatal signal is looked for after the tracer's word). When the tracer
ends, the kernel lets go of all that still run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

_CONT, _GETEVENTMSG, _SYSCALL, _DETACH = 7, 0x4201, 24, 17
_SEIZE, _LISTEN, _GET_SYSCALL_INFO = 0x4206, 0x4208, 0x420E
_TRACESYSGOOD, _TRACEFORK, _TRACEVFORK, _TRACECLONE, _TRACEEXEC = 1, 2, 4, 8, 16
_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE, _EVENT_EXEC, _EVENT_STOP = 1, 2, 3, 4, 128
_WALL = 0x40000000
_CALL = Struct("=7Q")  # struct ptrace_syscall_info: number and arguments of an entry, from byte 24
_ENTRY = 1
FAMILY = _TRACEFORK | _TRACEVFORK | _TRACECLONE  # follow children; threads alone: THREADS
THREADS = _TRACECLONE

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_ptrace.restype = ctypes.c_long


@dataclass
class Thread:
    """One traced thread. `role` says what its process is; `parent` is the process that forked it."""

    tid: int
    pid: int
    role: str
    parent: int


class Tracer:
    """`on_call(thread, number, arguments)` at each entry, `on_return(thread, failed)` at each return.

    `role_of(parent's role)` names the role of a child; `until_exec` are roles that are let go when they execute another
    program.
    """

    def __init__(
        self,
        on_call: Callable[[Thread, int, tuple[int, ...]], None],
        on_return: Callable[[Thread, bool], None],
        role_of: Callable[[str], str],
        until_exec: frozenset[str],
    ) -> None:
        self.threads: dict[int, Thread] = {}
        self._on_call = on_call
        self._on_return = on_return
        self._role_of = role_of
        self._until_exec = until_exec
        self._info = ctypes.create_string_buffer(88)
        self._early: set[int] = set()  # children that stopped before their parent's event came

    def attach(self, pid: int, role: str, follow: int) -> None:
        """All threads of a process that runs."""
        for _ in range(3):  # threads that a thread starts meanwhile
            for name in os.listdir(f"/proc/{pid}/task"):
                if int(name) not in self.threads:
                    _call(_SEIZE, int(name), _TRACESYSGOOD | _TRACEEXEC | follow)
                    _call(0x4207, int(name), 0)  # PTRACE_INTERRUPT: the first stop, from which SYSCALL goes on
                    self.threads[int(name)] = Thread(int(name), pid, role, 0)

    def turn(self) -> bool:
        """Handle one stop; whether there was one."""
        try:
            tid, status = os.waitpid(-1, _WALL | os.WNOHANG)
        except ChildProcessError:
            return False
        if not tid:
            return False
        if not os.WIFSTOPPED(status):
            self.threads.pop(tid, None)
            return True
        try:
            self._stopped(tid, status)
        except ProcessLookupError:  # it was killed in its stop
            pass
        return True

    def _stopped(self, tid: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        thread = self.threads.get(tid)
        if thread is None:
            self._early.add(tid)
            return
        if event in (_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE):
            self._born(thread, event)
        elif event == _EVENT_EXEC and thread.role in self._until_exec:
            _call(_DETACH, tid, 0)
            del self.threads[tid]
            return
        elif event == _EVENT_STOP and number != signal.SIGTRAP:  # a group stop
            _call(_LISTEN, tid, 0)
            return
        elif number == signal.SIGTRAP | 0x80:
            _call(_GET_SYSCALL_INFO, tid, ctypes.addressof(self._info), len(self._info))
            if self._info.raw[0] == _ENTRY:
                call, *arguments = _CALL.unpack_from(self._info, 24)
                self._on_call(thread, call, tuple(arguments))
            else:
                self._on_return(thread, bool(self._info.raw[32]))
        _call(_SYSCALL, tid, number if not event and number != signal.SIGTRAP | 0x80 else 0)

    def _born(self, parent: Thread, event: int) -> None:
        message = ctypes.c_ulong()
        _call(_GETEVENTMSG, parent.tid, ctypes.addressof(message))
        tid = message.value
        is_thread = event == _EVENT_CLONE and _group(tid) == parent.pid
        role = parent.role if is_thread else self._role_of(parent.role)
        self.threads[tid] = Thread(tid, *((parent.pid, role, parent.parent) if is_thread else (tid, role, parent.pid)))
        if tid in self._early:
            self._early.remove(tid)
            _call(_SYSCALL, tid, 0)


def refusal() -> str | None:
    """Why this host lets nobody trace (Yama, or no CAP_SYS_PTRACE); None where it does."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            _call(_SEIZE, child.pid, _TRACESYSGOOD)
        except OSError as error:
            return str(error)
        finally:
            child.kill()
    return None


def _group(tid: int) -> int:
    try:
        with open(f"/proc/{tid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("Tgid:"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _call(request: int, tid: int, data: int, address_or_size: int = 0) -> None:
    """ptrace(request, tid, addr, data); of SEIZE `data` is the options, of GET_SYSCALL_INFO the size is `addr`."""
    if _ptrace(request, tid, address_or_size, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace {request:#x} of {tid}: {os.strerror(error)}")
