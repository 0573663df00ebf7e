"""Joining namespaces by path or through a process, and what belongs to new ones: names and sysctls."""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls import ids
from groundplane.kernel.calls import process as p
from groundplane.kernel.calls.network import loopback_up
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps import procfs
from groundplane.runtime.steps.base import Inside, Step, StepError
from groundplane.runtime.wording import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FLAGS = {
    "pid": p.CLONE_NEWPID,
    "network": p.CLONE_NEWNET,
    "mount": p.CLONE_NEWNS,
    "ipc": p.CLONE_NEWIPC,
    "uts": p.CLONE_NEWUTS,
    "user": p.CLONE_NEWUSER,
    "cgroup": p.CLONE_NEWCGROUP,
    "time": p.CLONE_NEWTIME,
}
# /proc/PID/ns/NAME
PROC_NAMES = {"network": "net", "mount": "mnt"}


class JoinNamespaces(Step):
    """Enter existing namespaces. All are opened first, because the mount namespace changes what paths mean.

    The user namespace comes late: entering it ends our rights over namespaces that belong to the host's; one that
    belongs to *it* is refused before (EPERM) and entered after (user_namespaces(7)). Mount comes last of all.
    """

    __slots__ = ("paths",)

    def __init__(self, paths: Sequence[tuple[str, str]]) -> None:
        self.paths = paths  # (type, path); pid and time concern only children of who applies this

    def describe(self) -> str:
        return "joining namespaces " + ", ".join(path for _, path in self.paths)

    def apply(self, at: Inside) -> None:
        opened = [(kind, path, _open(path)) for kind, path in self.paths]
        late = []
        for kind, path, fd in opened:
            if kind in ("user", "mount"):
                late.append((kind, path, fd))
                continue
            try:
                p.setns(fd, FLAGS[kind], path)
            except KernelError as error:
                if error.errno != errno.EPERM:
                    raise
                late.append((kind, path, fd))
        late.sort(key=lambda one: {"user": 0, "mount": 2}.get(one[0], 1))
        for kind, path, fd in late:
            p.setns(fd, FLAGS[kind], path)
            if kind == "user":
                become_root()
        for _, _, fd in opened:
            os.close(fd)


class JoinProcess(Step):
    """Enter the namespaces of a container's init, all at once: either every one or none (setns(2), pidfd, ≥ 5.8)."""

    __slots__ = ("descriptors", "flags")

    def __init__(self, descriptors: list[int], flags: int) -> None:
        self.descriptors = descriptors  # first the pidfd, by the number it has once descriptors have been arranged
        self.flags = flags

    def describe(self) -> str:
        return "joining the container's namespaces"

    def apply(self, at: Inside) -> None:
        if self.flags:
            p.setns(self.descriptors[0], self.flags, "the container's init")
        if self.flags & p.CLONE_NEWUSER:
            become_root()


class EnterRoot(Step):
    """Stand in the container's root directory: the mount namespace's, or, where that is not its own, init's."""

    __slots__ = ("descriptors",)

    def __init__(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors  # the pidfd, and then the root's where the namespace's root is not it

    def describe(self) -> str:
        return "entering the container's root"

    def apply(self, at: Inside) -> None:
        try:
            if len(self.descriptors) > 1:
                os.fchdir(self.descriptors[1])
                os.chroot(".")
            os.chdir("/")
            at.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError.of("chroot", error, "/") from error


class BecomeMapped(Step):
    """Wait until the new user namespace has its id mappings, be its root, and only then make the other namespaces.

    In this order they are made by a user that exists in them: the root of mqueue, for one, belongs to its maker.
    """

    __slots__ = ("flags",)

    def __init__(self, flags: int) -> None:
        self.flags = flags

    def describe(self) -> str:
        return "entering the new user namespace"

    def apply(self, at: Inside) -> None:
        if not at.mapped:
            at.hear("mapped")
        p.set_dumpable(0)  # who is not root could not have mapped us otherwise
        become_root()
        if self.flags:
            p.unshare(self.flags)


def become_root() -> None:
    """User and group 0 of the user namespace just entered; the groups, where it lets them be dropped."""
    ids.setresgid(0)
    ids.setresuid(0)
    try:
        ids.setgroups([])
    except KernelError as error:
        if error.errno != errno.EPERM:  # /proc/PID/setgroups says deny
            raise


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, path) from error


class NewSession(Step):
    """A session, and a session keyring, of its own. The keyring's name is runc's."""

    __slots__ = ("keyring",)

    def __init__(self, keyring: str) -> None:
        self.keyring = keyring  # empty: keep the caller's (--no-new-keyring)

    def describe(self) -> str:
        return "starting a new session"

    def apply(self, at: Inside) -> None:
        try:
            os.setsid()
        except PermissionError:
            pass  # it leads one already: PID 1 of a new PID namespace is nobody's group member
        if self.keyring:
            try:
                p.join_session_keyring(self.keyring)
            except KernelError as error:
                if error.errno != errno.ENOSYS:  # a kernel without keys has none to leak
                    raise


class EnterGroups(Step):
    """Be in the cgroups from here on: before anything takes the rights or the system calls that this needs."""

    __slots__ = ()

    def describe(self) -> str:
        return "entering the cgroups"

    def apply(self, at: Inside) -> None:
        at.enter_groups()


class EnterNetwork(Step):
    """Enter the network namespace that outside has made meanwhile (`stages/outside.py`, make_network)."""

    __slots__ = ()

    def describe(self) -> str:
        return "entering the new network namespace"

    def apply(self, at: Inside) -> None:
        fd = at.receive("network")
        p.setns(fd, p.CLONE_NEWNET, "the new network namespace")
        os.close(fd)


class RaiseLoopback(Step):
    """Set `lo` up in a network namespace that inside has made for itself, with its user namespace."""

    __slots__ = ()

    def describe(self) -> str:
        return "setting the loopback device up"

    def apply(self, at: Inside) -> None:
        loopback_up()


class AskForNetDevices(Step):
    """Let outside move devices of the host's in here: they are in its namespace, where we have no rights."""

    __slots__ = ()

    def describe(self) -> str:
        return "waiting for network devices"

    def apply(self, at: Inside) -> None:
        at.talk.say("netdevices")
        at.hear("go")


class SetNames(Step):
    """The host and domain names of the UTS namespace."""

    __slots__ = ("domainname", "hostname")

    def __init__(self, hostname: str, domainname: str) -> None:
        self.hostname = hostname
        self.domainname = domainname

    def describe(self) -> str:
        return "setting the host name"

    def apply(self, at: Inside) -> None:
        if self.hostname:
            ids.sethostname(self.hostname)
        if self.domainname:
            ids.setdomainname(self.domainname)


class SetSysctls(Step):
    """Kernel parameters of the new namespaces. `procfs.py` says through which proc."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def describe(self) -> str:
        return "writing sysctls"

    def apply(self, at: Inside) -> None:
        proc = procfs.own_proc()
        try:
            for key, value in self.values.items():
                _write_sysctl(proc, key, value)
        finally:
            os.close(proc)


_SWAPPED = str.maketrans("./", "/.")


def sysctl_has_slashes(key: str) -> bool:
    """Whether a name is a path (`net/ipv4/conf/eth0.1/forwarding`): what comes first is the separator, sysctl(8).

    In the dotted form a slash stands for a dot: `net.ipv4.conf.eth0/1.forwarding`.
    """
    slash, dot = key.find("/"), key.find(".")
    return slash >= 0 and (dot < 0 or slash < dot)


def sysctl_path(key: str) -> str:
    """The file below /proc/sys."""
    return key if sysctl_has_slashes(key) else key.translate(_SWAPPED)


def sysctl_name(key: str) -> str:
    """The dotted form of either."""
    return key.translate(_SWAPPED) if sysctl_has_slashes(key) else key


def _write_sysctl(proc: int, key: str, value: str) -> None:
    path = f"sys/{sysctl_path(key)}"
    try:
        procfs.write(proc, path, value)
    except KernelError as error:
        if error.call == "write":
            raise StepError(f"open /proc/{path}: {strerror(error.errno)} (sysctl {key}={value})") from error
        raise KernelError("open", error.errno, f"sysctl {key}") from None
