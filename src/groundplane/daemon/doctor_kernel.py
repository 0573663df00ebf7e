"""What the kernel offers, tried out: each probe runs in a child process, so that nothing stays behind."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator

from groundplane.base.errors import GroundError
from groundplane.daemon.findings import Finding, degraded, missing, works
from groundplane.dataplane import probe
from groundplane.kernel import landlock
from groundplane.kernel.calls import files, mount, process
from groundplane.kernel.cgroups import registry
from groundplane.kernel.cgroups.contract import Limits

_NEEDED = {
    "mount": process.CLONE_NEWNS,
    "uts": process.CLONE_NEWUTS,
    "ipc": process.CLONE_NEWIPC,
    "pid": process.CLONE_NEWPID,
    "network": process.CLONE_NEWNET,
}
_WELCOME = {
    "cgroup": process.CLONE_NEWCGROUP,
    "user": process.CLONE_NEWUSER,
    "time": process.CLONE_NEWTIME,
}
_EXIT_INFO = (6, 15)  # PIDFD_GET_INFO tells exit statuses from here on


def findings() -> Iterator[Finding]:
    """One by one, since some take milliseconds."""
    yield works("Linux", platform.release())
    yield _namespaces()
    yield _root_directory()
    yield _tried("overlay file system", _try_overlay, "enable CONFIG_OVERLAY_FS, or `modprobe overlay`")
    yield _tried("openat2", _try_openat2, "use Linux 5.6 or newer, or a sandbox that lets it through")
    yield _pidfd()
    yield _tried("clone3", _try_clone3, "use Linux 5.5 or newer, or a sandbox that lets it through")
    yield _cgroups()
    yield _seccomp()
    yield _landlock()
    yield _network()


def in_child(work: Callable[[], None]) -> str:
    """ "" where `work` succeeds in a child process, else why not."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b"ended early"
        try:
            work()
            said = b""
        except (GroundError, OSError) as error:
            said = str(error).encode() or b"failed"
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(pid, 0)
    return text


def _tried(name: str, work: Callable[[], None], mend: str) -> Finding:
    problem = in_child(work)
    return missing(name, problem, mend) if problem else works(name)


def _namespaces() -> Finding:
    refused = {}
    for name, flag in {**_NEEDED, **_WELCOME}.items():
        if problem := in_child(lambda flag=flag: process.unshare(flag)):  # type: ignore[misc]
            refused[name] = problem
    had = ", ".join(name for name in (*_NEEDED, *_WELCOME) if name not in refused)
    needed = [refused[name] for name in _NEEDED if name in refused]
    if needed:
        return missing("namespaces", needed[0], "run as root, outside of a sandbox that forbids unshare(2)")
    if refused:
        return degraded("namespaces", f"{had}; no {', '.join(refused)}: containers that ask for these are refused")
    return works("namespaces", had)


def _root_directory() -> Finding:
    """pivot_root(2) and a change of the root's propagation need `/` to be a mount point, which a chroot's is not."""
    with open("/proc/self/mountinfo") as table:
        points = {line.split(" ", 5)[4] for line in table}
    if "/" not in points:
        why = "/ is no mount point (a chroot?): containers cannot get a root of their own"
        return missing("root directory", why, "enter this root with pivot_root(2), not with chroot(2)")
    return works("root directory")


def _try_overlay() -> None:
    """A whole overlay over a tmpfs, in a mount namespace that ends with the child."""
    process.unshare(process.CLONE_NEWNS)
    mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
    directory = tempfile.gettempdir()  # covered by the tmpfs, in this namespace only
    mount.mount("tmpfs", directory, "tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{directory}/{name}")
    parts = f"lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work"
    mount.mount("overlay", f"{directory}/merged", "overlay", 0, parts)


def _try_openat2() -> None:
    root = os.open("/", os.O_PATH)
    os.close(files.open_in_root(root, "etc"))


def _try_clone3() -> None:
    pid, pidfd = process.clone3(0)
    if pid == 0:
        os._exit(0)
    os.close(pidfd)
    os.waitpid(pid, 0)


def _pidfd() -> Finding:
    if problem := in_child(lambda: os.close(process.pidfd_open(os.getpid()))):
        return missing("pidfd", problem, "use Linux 5.3 or newer, or a sandbox that lets pidfd_open(2) through")
    version = tuple(int(word) for word in platform.release().split("-")[0].split(".")[:2] if word.isdigit())
    if version < _EXIT_INFO:
        return degraded(
            "pidfd", "an exit code is lost where daemon, spawner and supervisor were all killed (Linux < 6.15)"
        )
    return works("pidfd", "with exit statuses")


def _cgroups() -> Finding:
    """A group with every limit that pods use, made and taken away."""
    path = f"ground-doctor-{os.getpid()}"
    limits = Limits(memory=64 << 20, pids=64, cpu_shares=128, cpu_quota=50_000, cpu_period=100_000)
    try:
        groups = registry.detect()
        layout = {"V1": "v1", "V2": "v2", "Hybrid": "v1 and v2 together"}[type(groups).__name__]
        groups.create(path)
        try:
            lacking = groups.set(path, limits)
            groups.freeze(path)
            groups.thaw(path)
        finally:
            groups.remove(path)
    except (GroundError, OSError) as error:
        return missing("cgroups", str(error), "mount cgroups writable: mount -t cgroup2 none /sys/fs/cgroup")
    if lacking:
        return degraded("cgroups", f"{layout}; {'; '.join(lacking)}")
    return works("cgroups", f"{layout}; cpu, memory, pids, freezing")


def _seccomp() -> Finding:
    try:
        actions = files.read_text("/proc/sys/kernel/seccomp/actions_avail").split()
    except GroundError:
        return missing("seccomp", "the kernel has no filters", "enable CONFIG_SECCOMP_FILTER")
    if "user_notif" not in actions:
        return degraded("seccomp", "without user notification")
    return works("seccomp")


def _landlock() -> Finding:
    version = landlock.abi()
    if not version:
        return degraded("landlock", "not there; nothing that is offered today needs it")
    return works("landlock", f"version {version}")


def _network() -> Finding:
    if problem := probe.kernel_problem():
        return missing("nf_tables and links", problem, "enable CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_VETH")
    return works("nf_tables and links", "veth, NAT, Service maps")
