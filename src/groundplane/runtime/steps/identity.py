"""The process's own attributes, last of all: who it is, what it may do, and what the kernel refuses it."""

from __future__ import annotations

import errno
import os
import stat

from groundplane.kernel import caps
from groundplane.kernel.calls import ids
from groundplane.kernel.calls import process as p
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps.base import Inside, Step, StepError
from groundplane.runtime.steps.rootfs import enter_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


_SCHED_DEADLINE = 6  # linux/sched.h
# sched_setattr(2), EPERM: such a task may move to every CPU there is, so a cpuset is in its way; the words are runc's.
_NO_DEADLINE = "it needs CAP_SYS_NICE and all CPUs: process scheduler can't be used together with AllowedCPUs"


class CapabilitySets:
    """The five sets as bit masks."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(self, bounding: int, effective: int, permitted: int, inheritable: int, ambient: int) -> None:
        self.bounding = bounding
        self.effective = effective
        self.permitted = permitted
        self.inheritable = inheritable
        self.ambient = ambient


class AskForLimits(Step):
    """Let outside set the resource limits, late: a small number of open files would hinder the other steps."""

    __slots__ = ()

    def describe(self) -> str:
        return "waiting for the resource limits"

    def apply(self, at: Inside) -> None:
        at.talk.say("limits")
        at.hear("go")


class BecomeUser(Step):
    """Change to the process's user, groups and directory, in the only order that works.

    Bounding set first, while CAP_SETPCAP is there; then groups and ids, keeping the permitted set over the change;
    then the directory (as root where that may enter it, else as the user). `SetCapabilities` follows (capabilities(7)).
    `filtered`: a seccomp filter is installed in between, which needs CAP_SYS_ADMIN, whoever the user is.
    """

    __slots__ = ("capabilities", "cwd", "filtered", "gid", "groups", "last", "uid", "umask")

    def __init__(
        self,
        uid: int,
        gid: int,
        groups: Sequence[int],
        umask: int | None,
        cwd: str,
        capabilities: CapabilitySets,
        last: int,
        *,
        filtered: bool,
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.umask = 0o022 if umask is None else umask  # runc's default
        self.cwd = cwd
        self.capabilities = capabilities
        self.last = last  # the kernel's highest capability
        self.filtered = filtered

    def describe(self) -> str:
        return f"changing to user {self.uid}, group {self.gid}"

    def apply(self, at: Inside) -> None:
        sets = self.capabilities
        caps.limit_bounding(sets.bounding, self.last)
        p.set_keep_caps(1)
        entered = True
        try:
            enter_directory(self.cwd)
        except StepError:
            if self.uid == 0:
                raise
            entered = False  # a directory of the user's on a file system that denies root (FUSE, NFS)
        _give_stdio(self.uid)
        self._set_groups()
        ids.setresgid(self.gid)
        ids.setresuid(self.uid)
        if not entered:
            enter_directory(self.cwd)
        os.umask(self.umask)
        p.set_keep_caps(0)
        if self.filtered:
            kept = sets.permitted | sets.inheritable | caps.mask(["CAP_SYS_ADMIN"])
            caps.capset(kept, kept, 0)

    def _set_groups(self) -> None:
        try:
            ids.setgroups(list(self.groups))
        except KernelError as error:
            # A user namespace may deny it (/proc/self/setgroups); then there is nothing to drop, and nothing to give.
            if error.errno != errno.EPERM or self.groups:
                raise


def _give_stdio(uid: int) -> None:
    """Let the user reopen its own streams (/dev/stdout); what cannot change its owner stays as it is, as with runc."""
    for fd in (0, 1, 2):
        try:
            info = os.fstat(fd)
            if info.st_uid != uid and not (stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(1, 3)):
                os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS, errno.EBADF):
                raise KernelError.of("fchown", error, f"descriptor {fd}") from error


class SetCapabilities(Step):
    """The process's own sets, the last thing that needs a right."""

    __slots__ = ("last", "sets")

    def __init__(self, sets: CapabilitySets, last: int) -> None:
        self.sets = sets
        self.last = last  # the kernel's highest capability

    def describe(self) -> str:
        return "setting the capabilities"

    def apply(self, at: Inside) -> None:
        sets = self.sets
        caps.capset(sets.effective, sets.permitted, sets.inheritable)
        caps.set_ambient(sets.ambient, self.last)


class SetNoNewPrivileges(Step):
    __slots__ = ()

    def describe(self) -> str:
        return "setting no_new_privs"

    def apply(self, at: Inside) -> None:
        p.set_no_new_privs()


class Policy:
    """A scheduling policy with its flags and parameters, as sched_setattr(2) takes them."""

    __slots__ = ("flags", "nice", "policy", "priority", "times")

    def __init__(self, policy: int, flags: int, nice: int, priority: int, times: tuple[int, int, int]) -> None:
        self.policy = policy
        self.flags = flags
        self.nice = nice
        self.priority = priority
        self.times = times  # run time, deadline and period in nanoseconds


class SetScheduling(Step):
    """Scheduling policy, nice value and I/O priority (config.md, process.scheduler and process.ioPriority)."""

    __slots__ = ("io", "policy")

    def __init__(self, policy: Policy | None, io: tuple[int, int] | None) -> None:
        self.policy = policy
        self.io = io

    def describe(self) -> str:
        return "setting the scheduling policy"

    def apply(self, at: Inside) -> None:
        if (wanted := self.policy) is not None:
            try:
                p.sched_setattr(wanted.policy, wanted.flags, wanted.nice, wanted.priority, *wanted.times)
            except KernelError as error:
                if error.errno == errno.EPERM and wanted.policy == _SCHED_DEADLINE:
                    error.hint = _NO_DEADLINE
                raise
        if self.io is not None:
            p.ioprio_set(*self.io)


class SetPersonality(Step):
    __slots__ = ("domain",)

    def __init__(self, domain: int) -> None:
        self.domain = domain

    def describe(self) -> str:
        return "setting the execution domain"

    def apply(self, at: Inside) -> None:
        p.personality(self.domain)


class InstallSeccomp(Step):
    """Put the compiled filter in force. Without no_new_privs this needs CAP_SYS_ADMIN (seccomp(2))."""

    __slots__ = ("flags", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags

    def describe(self) -> str:
        return "installing the seccomp filter"

    def apply(self, at: Inside) -> None:
        # late: loaded by the parent, which compiled it
        from groundplane.kernel.seccomp.install import LISTENER, install

        descriptor = install(self.program, self.flags)
        if self.flags & LISTENER:
            # Only write(2) and read(2) from here on: other calls may wait for the agent. Outside takes the descriptor
            # from us (pidfd_getfd(2)), which needs no call of ours.
            at.talk.say("listener", str(descriptor))
            at.hear("go")
            os.close(descriptor)
