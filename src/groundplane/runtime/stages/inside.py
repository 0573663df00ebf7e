"""The inside stage: the new process, from its first instruction to the container's program. It never returns.

It is a copy of the caller, so the first thing it does is to forget: descriptors that are not the container's are
closed before any namespace is entered (CVE-2024-21626: one leaked directory descriptor is the whole host), and
PR_SET_DUMPABLE 0 keeps the container's other processes from looking into this one through /proc while it still has
rights that they have not (CVE-2016-9962).
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # because `signal` builds enumerations for 3 ms
import errno
import fcntl
import gc
import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls import process as p
from groundplane.kernel.errors import KernelError
from groundplane.kernel.trampoline import report
from groundplane.runtime.program import ProgramError, exec_error, look_path
from groundplane.runtime.steps.base import Inside, NotAdmitted
from groundplane.runtime.talk import Gone, Talk
from groundplane.runtime.wording import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundplane.runtime.plan import Plan
    from groundplane.runtime.stages.outside import Descriptors

# What Go's runtimes and shells assume where the document has no PATH.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(plan: Plan, talk: Talk, descriptors: Descriptors, ignored: Sequence[int]) -> None:
    """Walk the plan's steps, wait for `start`, execute; ends the process in every case."""
    try:
        gc.disable()
        if plan.privileged or not plan.clone_flags & p.CLONE_NEWUSER:
            p.set_dumpable(0)  # else once mapped: the files of /proc that say so would belong to root
        p.set_name("ground:inside")
        _forget_signals(ignored)
        os.umask(0o022)  # of what the steps make in the container's tree, whatever the caller's is
        talk = _arrange_descriptors(talk, descriptors)
        _walk(plan, talk, descriptors)
    except Gone:
        pass  # nobody waits for us any more
    except BaseException as error:  # noqa: BLE001 because nothing may escape into the copied caller
        talk.say("error", f"1 {type(error).__name__}: {error}")
    finally:
        os._exit(1)


def _walk(plan: Plan, talk: Talk, descriptors: Descriptors) -> None:
    at = Inside(talk, enters=plan.enters)
    for step in plan.steps:
        try:
            step.apply(at)
        except NotAdmitted as error:
            talk.say("error", f"1 {error}")
            os._exit(1)
        except (GroundError, OSError) as error:
            talk.say("error", f"1 error during container init: error {step.describe()}: {words(error)}")
            os._exit(1)
    environment = plan.environment
    if not environment.get("HOME"):  # an empty one counts as none, as with runc
        environment["HOME"] = _home(os.getuid())
    path = ""
    if plan.args:  # a document without a process can be created and not be started (config.md, "Process")
        try:
            path = look_path(plan.args[0], environment.get("PATH", _DEFAULT_PATH))
        except ProgramError as error:
            talk.say("error", f"{error.exit_code} {error}")
            os._exit(1)
    talk.say("ready")
    if descriptors.gate is not None:  # from here on it takes the place of `talk`
        talk.close()
        talk = descriptors.gate
    at.talk = talk
    _end_when_told()
    at.hear("start")
    if not path:
        talk.say("error", "1 process property must not be empty")
        os._exit(1)
    if plan.start_hooks is not None:
        try:
            plan.start_hooks.apply(at)
        except GroundError as error:
            talk.say("error", f"1 {words(error)}")
            os._exit(1)
    try:
        if descriptors.trampoline >= 0:
            p.execveat(descriptors.trampoline, [report(path), *plan.args], environment)
        os.execve(path, list(plan.args), environment)
    except (OSError, KernelError) as error:
        failure = exec_error(path, error.errno or errno.EIO)
        talk.say("error", f"{failure.exit_code} {failure}")
    os._exit(1)


def _end_when_told() -> None:
    """While it waits, the first process of a PID namespace is killed by SIGTERM too, as any other is.

    The kernel spares such a process the signals for which it has no handler (pid_namespaces(7)), and a container that
    was created can be told to end like one that runs. execve(2) takes the handlers away.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(128 + number))


# nptl(7): the two that glibc keeps for itself and hides from sigaction(3); a child of its posix_spawn ignores them.
_LIBRARY_SIGNALS = (32, 33)


def ignored_signals() -> list[int]:
    """What the caller ignores, as Python knows without asking; it ignores SIGPIPE from its start."""
    return [number for number in range(1, signal.NSIG) if signal.getsignal(number) == signal.SIG_IGN]


def _forget_signals(ignored: Sequence[int]) -> None:
    """No signal blocked, and none ignored: both outlive execve(2).

    What had a handler has none since the clone (CLONE_CLEAR_SIGHAND).
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    for number in _LIBRARY_SIGNALS:
        p.default_action(number)


def _arrange_descriptors(talk: Talk, descriptors: Descriptors) -> Talk:
    """0, 1, 2 and 3… become the container's; ours move above them, close-on-exec; everything else is closed.

    `descriptors` is changed in place to the new numbers, which the steps that own them read later. The first number
    above the container's is what the trampoline reports to: it has to outlive the trampoline's own start.
    """
    wanted = [*descriptors.stdio, *descriptors.keep]
    base = len(wanted)
    extra, gate = descriptors.extra, descriptors.gate

    def lift(fd: int) -> int:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, base + 1)

    lifted = [lift(fd) for fd in wanted]
    moved = lift(talk.read_fd)
    talk = Talk(moved, moved)
    extra[:] = [lift(fd) for fd in extra]
    if gate is not None:
        gate = descriptors.gate = Talk(lift(gate.read_fd), lift(gate.write_fd))
    if descriptors.trampoline >= 0:
        descriptors.trampoline = lift(descriptors.trampoline)
    for number, fd in enumerate(lifted):
        os.dup2(fd, number)
    keep = {*range(base), moved, *extra}
    if gate is not None:
        keep |= {gate.read_fd, gate.write_fd}
    if descriptors.trampoline >= 0:
        os.dup2((gate or talk).write_fd, base)
        keep |= {base, descriptors.trampoline}
    p.close_all_but(keep)
    return talk


def _home(uid: int) -> str:
    """The user's home directory from the container's /etc/passwd; `/` where it is not listed (as runc)."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.rstrip("\n").split(":")
                if len(fields) >= 6 and fields[2] == str(uid):
                    return fields[5] or "/"
    except OSError:
        pass
    return "/"
