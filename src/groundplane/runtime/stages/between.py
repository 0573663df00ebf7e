"""The stage between: a process that only enters namespaces, makes the new one inside them, and ends.

Needed where a user namespace is joined. Who enters one leaves all rights over the old one for good, so outside cannot
do it; and what the new process is to own (its PID namespace, without which it may not mount proc) must be made by
somebody who is in the user namespace already. The child is made with CLONE_PARENT, so it is outside's own child, to
be waited for like any other. A pidfd of it goes to outside with the word `born`.
"""

from __future__ import annotations

import errno
import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls import process as p
from groundplane.kernel.calls.files import read_text
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps.base import Inside
from groundplane.runtime.talk import Gone
from groundplane.runtime.wording import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundplane.runtime.plan import Plan
    from groundplane.runtime.stages.outside import Descriptors
    from groundplane.runtime.talk import Talk


def run(plan: Plan, talk: Talk, descriptors: Descriptors, offsets: Sequence[str]) -> None:
    """Enter what the plan joins, and clone. Returns in the new process only."""
    assert plan.join is not None
    offsets_fd = -1
    try:
        p.set_dumpable(0)
        p.set_name("ground:between")
        p.close_all_but(_needed(talk, descriptors))  # before it enters a namespace, as `inside` says why
        if plan.new_time and offsets:  # opened now: among the mounts joined /proc may be anything (CVE-2025-52881)
            offsets_fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        plan.join.apply(Inside(talk, enters=False))
        if plan.new_time:
            p.unshare(p.CLONE_NEWTIME)
            for line in offsets:
                os.pwrite(offsets_fd, line.encode(), 0)
        wait, done = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = p.clone3(plan.clone_flags | p.CLONE_PARENT)
    except (GroundError, OSError) as error:
        talk.say("error", f"1 error during container init: error {plan.join.describe()}: {words(error)}")
        os._exit(1)
    if pid == 0:
        os.close(done)
        os.read(wait, 1)  # until we have ended there: what it says on the same socket comes after `born`
        os.close(wait)
        return
    talk.say_with_fd("born", pidfd)
    os._exit(0)


def _needed(talk: Talk, descriptors: Descriptors) -> set[int]:
    gate = descriptors.gate
    keep = {talk.read_fd, talk.write_fd, *descriptors.stdio, *descriptors.keep, *descriptors.extra}
    keep |= {gate.read_fd, gate.write_fd} if gate else set()
    return keep | ({descriptors.trampoline} if descriptors.trampoline >= 0 else set())


def await_birth(between: int, talk: Talk) -> tuple[int, int]:
    """Outside's part: pid and pidfd of the new process, once the one between has ended. Raises KernelError, Gone."""
    try:
        word, text, pidfd = talk.hear_with_fd()
    finally:
        os.waitpid(between, 0)
    if word == "error":
        raise NotBorn(text)
    if word != "born":
        raise Gone  # the one between was killed
    return _pid_of(pidfd), pidfd


class NotBorn(GroundError):
    """The process between could not do it; the text is what it said: `CODE SENTENCE`."""


def _pid_of(pidfd: int) -> int:
    """The pid as we count, whatever PID namespace it was made in. proc_pid_fdinfo(5), pidfd_open(2)."""
    for line in read_text(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith("Pid:"):
            pid = int(line.split()[1])
            if pid > 0:
                return pid
    raise KernelError("pidfd", errno.ESRCH, "the new process has ended")
