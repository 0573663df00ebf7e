"""What a control group can do for us, whichever layout the host has.

Vocabulary
    *Hierarchy*: one mounted tree. A v2 host has one; a v1 host one for each controller (or pair); a hybrid host v1
    trees and a v2 tree with whatever controllers are left over, often none.
    *Path*: where a group lies, the same in every hierarchy, relative to the hierarchy's root, or to the group this
    process was born in where the root is not writable (delegation, cgroups(7)). Never empty, absolute or with `..`.
    *Limits*: what to grant, in the kernel's units. None means: leave as it is.

Life of a group
    `create` makes it, and its parents, in all hierarchies. `set` grants. `entrance` says how a process gets in; its
    children follow by themselves. `freeze`/`thaw`, `stats`, `processes` and `oom_count` look at it. `kill` ends what
    runs in it; `remove` takes it away with the groups that the container made below it, and leaves its parents.

        groups = registry.detect()
        groups.create("groundplane-1a2b3c/containers/ID")
        degraded = groups.set("groundplane-1a2b3c/containers/ID", Limits(memory=64 << 20, pids=100))
        entrance = groups.entrance("groundplane-1a2b3c/containers/ID")
        …
        groups.kill("groundplane-1a2b3c/containers/ID")
        groups.remove("groundplane-1a2b3c/containers/ID")

Errors and degradation
    What the kernel refuses is a KernelError naming the file and the value. What this *layout* has no means for (no such
    controller mounted here) is never silent either: `set` returns one sentence for each such limit, and the caller
    decides whether it matters. The exception are device rules, which guard the host: without means they are an error.

Time
    Who moves another process, or one with several threads, waits for an RCU grace period (`cgroup.procs`: 5-15 ms on
    Linux 6.1 and 6.18, v1 and v2 alike), because the process must not fork meanwhile. A thread that moves itself alone
    does not fork meanwhile, so the kernel does not wait: v1's `tasks` with the pid 0 (cgroup_procs_write_start() in
    kernel/cgroup/cgroup.c, Linux >= 5.5), 0.02 ms. v2 has no such file, but a process can be born in its group
    (CLONE_INTO_CGROUP, clone3(2)), which costs nothing. `Entrance` is made of these two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Protocol

    from groundplane.kernel.cgroups.oom import OomWatch
    from groundplane.kernel.cgroups.usage import Usage
else:
    Protocol = object

UNLIMITED = -1


class DeviceRule:
    """Whether `access` (of `r`, `w`, `m`) to devices of `kind` (`c`, `b`, `a` both) is allowed; None is any number."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, *, allow: bool, kind: str, major: int | None, minor: int | None, access: str) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    def __str__(self) -> str:
        numbers = ":".join("*" if n is None else str(n) for n in (self.major, self.minor))
        return f"{self.kind} {numbers} {self.access}"


class Limits:
    """What to grant; None leaves a limit as it is, UNLIMITED (-1) lifts it."""

    __slots__ = (
        "blkio_leaf_weight",
        "blkio_throttle",
        "blkio_weight",
        "blkio_weight_devices",
        "cpu_burst",
        "cpu_idle",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpu_shares",
        "cpuset_cpus",
        "cpuset_mems",
        "devices",
        "hugetlb",
        "memory",
        "memory_check",
        "memory_reservation",
        "memory_swap",
        "net_classid",
        "net_priorities",
        "oom_kill_disable",
        "pids",
        "rdma",
        "swappiness",
        "unified",
    )

    def __init__(
        self,
        *,
        cpu_shares: int | None = None,  # 2..262144, 1024 is one share (v1 cpu.shares)
        cpu_quota: int | None = None,  # microseconds in each period
        cpu_period: int | None = None,  # microseconds
        cpu_burst: int | None = None,  # microseconds
        cpu_rt_runtime: int | None = None,  # microseconds in each real-time period
        cpu_rt_period: int | None = None,  # microseconds
        cpu_idle: int | None = None,  # 1: SCHED_IDLE for the whole group
        cpuset_cpus: str | None = None,  # `0-3,6`
        cpuset_mems: str | None = None,
        memory: int | None = None,  # bytes
        memory_check: bool = False,  # refuse a memory limit below what is used now (v1 always does)
        memory_reservation: int | None = None,  # bytes (v1 soft limit, v2 memory.low)
        memory_swap: int | None = None,  # bytes of memory and swap together, as v1 counts
        swappiness: int | None = None,  # 0..100
        oom_kill_disable: bool | None = None,
        pids: int | None = None,  # processes and threads
        blkio_weight: int | None = None,  # 10..1000
        blkio_leaf_weight: int | None = None,
        blkio_weight_devices: Sequence[tuple[int, int, int | None, int | None]] = (),  # (major, minor, weight, leaf)
        blkio_throttle: Sequence[tuple[str, int, int, int]] = (),  # (read_bps …, major, minor, rate)
        hugetlb: Sequence[tuple[str, int]] = (),  # (`2MB`, bytes)
        net_classid: int | None = None,
        net_priorities: Sequence[tuple[str, int]] = (),
        rdma: Sequence[tuple[str, int | None, int | None]] = (),  # (device, handles, objects)
        devices: Sequence[DeviceRule] | None = None,  # None: no rules at all; else replaces all rules, in order
        unified: Mapping[str, str] | None = None,  # v2 files and their values, verbatim
    ) -> None:
        self.cpu_shares = cpu_shares
        self.cpu_quota = cpu_quota
        self.cpu_period = cpu_period
        self.cpu_burst = cpu_burst
        self.cpu_rt_runtime = cpu_rt_runtime
        self.cpu_rt_period = cpu_rt_period
        self.cpu_idle = cpu_idle
        self.cpuset_cpus = cpuset_cpus
        self.cpuset_mems = cpuset_mems
        self.memory = memory
        self.memory_check = memory_check
        self.memory_reservation = memory_reservation
        self.memory_swap = memory_swap
        self.swappiness = swappiness
        self.oom_kill_disable = oom_kill_disable
        self.pids = pids
        self.blkio_weight = blkio_weight
        self.blkio_leaf_weight = blkio_leaf_weight
        self.blkio_weight_devices = blkio_weight_devices
        self.blkio_throttle = blkio_throttle
        self.hugetlb = hugetlb
        self.net_classid = net_classid
        self.net_priorities = net_priorities
        self.rdma = rdma
        self.devices = devices
        self.unified = unified

    def only(self, controllers: Collection[str]) -> Limits:
        """Those limits that belong to these controllers (by version 1's names)."""
        names = [name for controller in controllers for name in _CONTROLLERS.get(controller, ())]
        return Limits(**{name: getattr(self, name) for name in names})


# Which controller grants what; devices and unified keys belong to none.
_CONTROLLERS = {
    "cpu": (
        "cpu_shares",
        "cpu_quota",
        "cpu_period",
        "cpu_burst",
        "cpu_idle",
        "cpu_rt_runtime",
        "cpu_rt_period",
    ),
    "cpuset": ("cpuset_cpus", "cpuset_mems"),
    "memory": (
        "memory",
        "memory_check",
        "memory_reservation",
        "memory_swap",
        "swappiness",
        "oom_kill_disable",
    ),
    "pids": ("pids",),
    "blkio": ("blkio_weight", "blkio_leaf_weight", "blkio_weight_devices", "blkio_throttle"),
    "hugetlb": ("hugetlb",),
    "rdma": ("rdma",),
}


class Stats:
    """What a group uses now. None: this layout does not count it."""

    __slots__ = ("cpu_ns", "memory", "memory_limit", "pids")

    def __init__(self, cpu_ns: int | None, memory: int | None, memory_limit: int | None, pids: int | None) -> None:
        self.cpu_ns = cpu_ns  # since the group was made
        self.memory = memory  # bytes, less inactive file cache, as docker and the kubelet count
        self.memory_limit = memory_limit  # bytes; None also where there is none
        self.pids = pids


class View:
    """One hierarchy as a container should see it: mounted at /sys/fs/cgroup/NAME (empty: at /sys/fs/cgroup itself)."""

    __slots__ = ("directory", "fstype", "links", "name", "options")

    def __init__(
        self, name: str, fstype: str, options: tuple[str, ...], directory: str, links: tuple[str, ...]
    ) -> None:
        self.name = name
        self.fstype = fstype  # `cgroup` or `cgroup2`
        self.options = options  # to mount it anew inside a cgroup namespace (`cpu`, `cpuacct`)
        self.directory = directory  # the group's own directory on the host, to bind where there is no such namespace
        self.links = links  # further names for it (`cpu` and `cpuacct` for `cpu,cpuacct`)


class Entrance:
    """How a new process with a single thread gets into a group without waiting; see *Time* above.

    It is born in `directory`, of the v2 tree (empty where there is none), and writes 0 into each of `tasks`, of the v1
    trees. Whoever opens them needs the right to write, not who writes.
    """

    __slots__ = ("directory", "tasks")

    def __init__(self, directory: str, tasks: list[str]) -> None:
        self.directory = directory
        self.tasks = tasks


class Groups(Protocol):
    """A driver. Every `path` is as said above; every method raises KernelError where the kernel refuses."""

    layout: str  # `v1`, `v2` or `hybrid`

    def create(self, path: str) -> None:
        """Make the group and its parents; not an error if it is there. Called before `set` and `entrance`."""

    def create_unified(self, path: str) -> None:
        """`create`, in the v2 tree only; nothing on v1. For a process that is born there while the rest is made."""

    def exists(self, path: str) -> bool:
        """Whether the group is there in at least one hierarchy."""

    def set(self, path: str, limits: Limits) -> list[str]:
        """Grant. Returns a sentence for each limit that this host's layout has no means for."""

    def entrance(self, path: str, *, below: Mapping[str, str] | None = None, beside: int = 0) -> Entrance:
        """Where a new process goes.

        `below` names groups below `path` to go into instead, by controller (`` for all), and they must be there.
        `beside` is a process of the group: where the group takes none any more, because what runs in it has given
        controllers on to groups below (v2, "No Internal Process Constraint"), the new one goes where that one is.
        """

    def delegate(self, path: str, uid: int) -> None:
        """Give the group to a user, so that its own manager can make groups below (cgroups(7), "Delegation").

        Only where that is safe: nothing happens on version 1.
        """

    def processes(self, path: str) -> list[int]:
        """The processes in the group and below it; empty if it is gone."""

    def stats(self, path: str) -> Stats: ...

    def usage(self, path: str) -> Usage:
        """Everything that is counted. Raises KernelError (ENOENT) if the group is gone."""

    def watch_oom(self, path: str) -> OomWatch:
        """Be told when the kernel runs out of the group's memory. Raises KernelError where nobody counts memory."""

    def oom_count(self, path: str) -> int:
        """How often the kernel killed something here for want of memory; 0 if the group is gone."""

    def freeze(self, path: str) -> None:
        """Returns once everything in it stands still. Raises KernelError (EBUSY) if that takes over two seconds."""

    def thaw(self, path: str) -> None: ...

    def frozen(self, path: str) -> bool: ...

    def kill(self, path: str) -> None:
        """SIGKILL to everything in it and below, also to what forks meanwhile; returns before all have ended."""

    def remove(self, path: str) -> None:
        """Take the group away, with groups below it. What was killed just now may still be ending: waits up to 2 s.

        Not an error if it is gone. Raises KernelError (EBUSY) if a process stays.
        """

    def prune(self, path: str) -> None:
        """Take the group away if nothing is in or below it; for parents that a failed `create` leaves."""

    def paths_of(self, pid: int) -> dict[str, str]:
        """Where a process is, from /proc/PID/cgroup: the directory on the host by controller (`` for v2's tree)."""

    def views(self, path: str) -> list[View]:
        """How a container in `path` sees the hierarchies, for the runtime's mount of type `cgroup`."""
