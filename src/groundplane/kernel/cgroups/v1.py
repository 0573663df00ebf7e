"""Version 1: one hierarchy for each controller (cgroups(7), Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import errno
import os

from groundplane.kernel.cgroups.contract import UNLIMITED, Limits, Stats, View
from groundplane.kernel.cgroups.tree import HostTree, check_path, flat_keyed, processes_below, remove_tree
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from groundplane.kernel.cgroups.tree import Tree

# memory.limit_in_bytes of an unlimited group: LONG_MAX rounded down to a page.
_NO_LIMIT = 0x7FFFFFFFFFFF0000


class Hierarchy:
    """One mounted v1 tree: its controllers (`cpu`; `name=systemd`) and the directory that paths start from."""

    __slots__ = ("controllers", "mountpoint", "root")

    def __init__(self, controllers: tuple[str, ...], root: str, mountpoint: str = "") -> None:
        self.controllers = controllers
        self.root = root
        self.mountpoint = mountpoint or root


class V1:
    """The driver of a host whose controllers are all v1."""

    layout = "v1"

    def __init__(self, hierarchies: Sequence[Hierarchy], tree: Tree | None = None) -> None:
        self._hierarchies = hierarchies
        self._by_controller = {c: h for h in hierarchies for c in h.controllers}
        self._tree: Tree = tree or HostTree()

    def create(self, path: str) -> None:
        check_path(path)
        made: list[str] = []
        try:
            for hierarchy in self._hierarchies:
                self._create_in(hierarchy, path, made)
        except KernelError:
            for directory in reversed(made):
                self._tree.remove(directory)
            raise

    def _create_in(self, hierarchy: Hierarchy, path: str, made: list[str]) -> None:
        cpuset = "cpuset" in hierarchy.controllers
        if not cpuset and self._tree.exists(f"{hierarchy.root}/{path}"):
            return
        directory = hierarchy.root
        for name in path.split("/"):
            parent, directory = directory, f"{directory}/{name}"
            if self._tree.make(directory):
                made.append(directory)
            if cpuset:
                self._inherit_cpuset(parent, directory)

    def _inherit_cpuset(self, parent: str, directory: str) -> None:
        """Give a group its parent's CPUs and memory nodes where it has none.

        cpuset(7): a new group is empty and takes no process until it has both. One that somebody else has made just
        now may still be empty, so this is not only for those that we made.
        """
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not self._tree.read(f"{directory}/{file}").strip():
                self._tree.write(f"{directory}/{file}", self._tree.read(f"{parent}/{file}").strip())

    def exists(self, path: str) -> bool:
        check_path(path)
        return any(self._tree.exists(f"{h.root}/{path}") for h in self._hierarchies)

    def set(self, path: str, limits: Limits) -> list[str]:
        degraded = self._grant(path, limits)
        if limits.unified:
            degraded.append("this host has no cgroup v2 controllers: linux.resources.unified is not set")
        return degraded

    def _grant(self, path: str, limits: Limits, elsewhere: Collection[str] = ()) -> list[str]:
        """Grant what v1's controllers can, but for those `elsewhere`."""
        check_path(path)
        degraded: list[str] = []
        for controller, what, apply in (
            ("cpu", _wants_cpu(limits), self._set_cpu),
            ("cpuset", bool(limits.cpuset_cpus or limits.cpuset_mems), self._set_cpuset),
            ("memory", _wants_memory(limits), self._set_memory),
            ("pids", limits.pids is not None, self._set_pids),
            ("blkio", _wants_blkio(limits), self._set_blkio),
            ("hugetlb", bool(limits.hugetlb), self._set_hugetlb),
            ("net_cls", limits.net_classid is not None, self._set_net_cls),
            ("net_prio", bool(limits.net_priorities), self._set_net_prio),
            ("devices", limits.devices is not None, self._set_devices),
        ):
            if not what or controller in elsewhere:
                continue
            if (hierarchy := self._by_controller.get(controller)) is not None:
                apply(f"{hierarchy.root}/{path}", limits, degraded)
            elif controller == "devices":
                raise KernelError("cgroup", errno.ENODEV, path, "the devices controller is not mounted on this host")
            else:
                degraded.append(
                    f"the cgroup controller {controller} is not mounted on this host: its limits are not set"
                )
        return degraded

    def _set_cpu(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        if limits.cpu_shares:
            self._tree.write(f"{directory}/cpu.shares", str(limits.cpu_shares))
        # The kernel refuses a quota that the present period cannot hold, and the other way round; as runc does, try the
        # period first and once more behind the quota.
        again = False
        if limits.cpu_period:
            try:
                self._tree.write(f"{directory}/cpu.cfs_period_us", str(limits.cpu_period))
            except KernelError as error:
                if error.errno != errno.EINVAL or not limits.cpu_quota:
                    raise
                again = True
        if limits.cpu_quota:
            self._tree.write(f"{directory}/cpu.cfs_quota_us", str(limits.cpu_quota))
        if again:
            self._tree.write(f"{directory}/cpu.cfs_period_us", str(limits.cpu_period))
        if limits.cpu_burst is not None:
            self._tree.write(f"{directory}/cpu.cfs_burst_us", str(limits.cpu_burst))
        if limits.cpu_rt_period:
            self._tree.write(f"{directory}/cpu.rt_period_us", str(limits.cpu_rt_period))
        if limits.cpu_rt_runtime:
            self._tree.write(f"{directory}/cpu.rt_runtime_us", str(limits.cpu_rt_runtime))
        if limits.cpu_idle is not None:
            self._tree.write(f"{directory}/cpu.idle", str(limits.cpu_idle))

    def _set_cpuset(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        if limits.cpuset_cpus:
            self._tree.write(f"{directory}/cpuset.cpus", limits.cpuset_cpus)
        if limits.cpuset_mems:
            self._tree.write(f"{directory}/cpuset.mems", limits.cpuset_mems)

    def _set_memory(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        memory, swap = limits.memory, limits.memory_swap
        if memory == UNLIMITED and swap is None:
            swap = UNLIMITED  # memory.limit_in_bytes may not exceed memory.memsw.limit_in_bytes
        writes = [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", swap)]
        if memory is not None and swap is not None and self._grows(directory, swap):
            writes.reverse()  # the larger of the two first, whichever direction we go
        for file, value in writes:
            if value is None or value == 0:
                continue
            if "memsw" in file and not self._tree.exists(f"{directory}/{file}"):
                degraded.append(
                    "this kernel does not account swap (swapaccount=0): the limit of memory and swap is not set"
                )
                continue
            try:
                self._tree.write(f"{directory}/{file}", str(value))
            except KernelError as error:
                if error.errno != errno.EBUSY:
                    raise
                used = self._tree.read(f"{directory}/memory.usage_in_bytes").strip()
                hint = f"unable to set memory limit to {value} (current usage: {used})"
                raise KernelError("write", error.errno, f"{directory}/{file}", hint) from None
        if limits.memory_reservation:
            self._tree.write(f"{directory}/memory.soft_limit_in_bytes", str(limits.memory_reservation))
        if limits.swappiness is not None:
            self._tree.write(f"{directory}/memory.swappiness", str(limits.swappiness))
        if limits.oom_kill_disable:
            self._tree.write(f"{directory}/memory.oom_control", "1")

    def _grows(self, directory: str, swap: int) -> bool:
        file = f"{directory}/memory.memsw.limit_in_bytes"
        return swap == UNLIMITED or (self._tree.exists(file) and int(self._tree.read(file)) < swap)

    def _set_pids(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        # 0 is "no limit" to runc 1.1 and the specification before 1.3; -1 always was.
        pids = limits.pids or 0
        self._tree.write(f"{directory}/pids.max", str(pids) if pids > 0 else "max")

    def _set_blkio(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        if limits.blkio_weight:
            file = next(
                (f for f in ("blkio.weight", "blkio.bfq.weight") if self._tree.exists(f"{directory}/{f}")), None
            )
            if file is None:
                degraded.append("no I/O scheduler of this host has weights (blkio.weight): the I/O weight is not set")
            else:
                self._tree.write(f"{directory}/{file}", str(limits.blkio_weight))
        if limits.blkio_leaf_weight:
            degraded.append("this kernel has no blkio.leaf_weight (gone since Linux 5.0): it is not set")
        for name, major, minor, rate in limits.blkio_throttle:
            self._tree.write(f"{directory}/blkio.throttle.{name}_device", f"{major}:{minor} {rate}")

    def _set_hugetlb(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        for size, limit in limits.hugetlb:
            self._tree.write(f"{directory}/hugetlb.{size}.limit_in_bytes", str(limit))

    def _set_net_cls(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        self._tree.write(f"{directory}/net_cls.classid", str(limits.net_classid))

    def _set_net_prio(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        for interface, priority in limits.net_priorities:
            self._tree.write(f"{directory}/net_prio.ifpriomap", f"{interface} {priority}")

    def _set_devices(self, directory: str, limits: Limits, degraded: list[str]) -> None:
        # Denying `a` empties the list of exceptions, so that the rules that follow are the whole truth.
        # (cgroup-v1/devices.rst; EINVAL where the group has children.)
        for rule in limits.devices or ():
            everything = rule.kind == "a" and rule.major is None and rule.minor is None
            text = "a" if everything else str(rule)
            self._tree.write(f"{directory}/devices.{'allow' if rule.allow else 'deny'}", text)

    def attach(self, path: str, pid: int) -> None:
        check_path(path)
        for hierarchy in self._hierarchies:
            self._tree.write(f"{hierarchy.root}/{path}/cgroup.procs", str(pid))

    def clone_fd(self, path: str) -> int:
        return -1

    def processes(self, path: str) -> list[int]:
        check_path(path)
        # Any hierarchy would do; a process is put into all of them. The union also finds one that was put into a part.
        pids = {pid for h in self._hierarchies for pid in processes_below(self._tree, f"{h.root}/{path}")}
        return sorted(pids)

    def _file(self, controller: str, path: str, file: str) -> str | None:
        """A file's text; None where the controller is not mounted. Raises KernelError where the group is gone."""
        hierarchy = self._by_controller.get(controller)
        return None if hierarchy is None else self._tree.read(f"{hierarchy.root}/{path}/{file}")

    def stats(self, path: str) -> Stats:
        check_path(path)
        cpu = self._file("cpuacct", path, "cpuacct.usage")
        usage = self._file("memory", path, "memory.usage_in_bytes")
        memory = limit = None
        if usage is not None:
            inactive = flat_keyed(self._file("memory", path, "memory.stat") or "").get("total_inactive_file", 0)
            memory = max(int(usage) - inactive, 0)
            limit = int(self._file("memory", path, "memory.limit_in_bytes") or 0)
        pids = self._file("pids", path, "pids.current")
        return Stats(
            cpu_ns=None if cpu is None else int(cpu),
            memory=memory,
            memory_limit=limit if limit and limit < _NO_LIMIT else None,
            pids=None if pids is None else int(pids),
        )

    def oom_count(self, path: str) -> int:
        check_path(path)
        try:
            text = self._file("memory", path, "memory.oom_control") or ""
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return 0
            raise
        return flat_keyed(text).get("oom_kill", 0)  # Linux ≥ 4.13

    def freeze(self, path: str) -> None:
        file = self._freezer(path)
        # cgroup-v1/freezer-subsystem.rst: FREEZING until the last task stands still; a task that forks meanwhile can
        # hold it up for ever, and writing FROZEN again makes the kernel try once more.
        for attempt in range(1000):
            self._tree.write(file, "FROZEN")
            if self._tree.read(file).strip() == "FROZEN":
                return
            self._tree.pause(0.0001 if attempt < 50 else 0.002)
        self._tree.write(file, "THAWED")
        raise KernelError("freeze", errno.EBUSY, path, "a process of it does not stop")

    def thaw(self, path: str) -> None:
        self._tree.write(self._freezer(path), "THAWED")

    def frozen(self, path: str) -> bool:
        check_path(path)
        hierarchy = self._by_controller.get("freezer")
        if hierarchy is None or not self._tree.exists(f"{hierarchy.root}/{path}"):
            return False
        return self._tree.read(f"{hierarchy.root}/{path}/freezer.state").strip() != "THAWED"

    def _freezer(self, path: str) -> str:
        check_path(path)
        hierarchy = self._by_controller.get("freezer")
        if hierarchy is None:
            raise KernelError("freeze", errno.ENODEV, path, "the freezer controller is not mounted on this host")
        return f"{hierarchy.root}/{path}/freezer.state"

    def kill(self, path: str) -> None:
        """Freeze first where possible, so that nothing forks away; then kill, then thaw, so that it can die."""
        if not self.exists(path):
            return
        can_freeze = "freezer" in self._by_controller
        if can_freeze:
            try:
                self.freeze(path)
            except KernelError as error:
                if error.errno not in (errno.EBUSY, errno.ENOENT):
                    raise
        try:
            for pid in self.processes(path):
                self._tree.kill(pid)
        finally:
            if can_freeze and self._tree.exists(self._freezer(path)):
                self.thaw(path)

    def remove(self, path: str) -> None:
        check_path(path)
        for hierarchy in self._hierarchies:
            remove_tree(self._tree, f"{hierarchy.root}/{path}")

    def paths_of(self, pid: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self._tree.read(f"/proc/{pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                if (hierarchy := self._by_controller.get(controller)) is not None:
                    found[controller] = hierarchy.mountpoint + (path if path != "/" else "")
        return found

    def views(self, path: str) -> list[View]:
        check_path(path)
        views = []
        for hierarchy in self._hierarchies:
            name = os.path.basename(hierarchy.mountpoint)
            links = tuple(c for c in hierarchy.controllers if len(hierarchy.controllers) > 1 and c != name)
            options = tuple(hierarchy.controllers)
            if options[0].startswith("name="):
                options = ("none", *options)  # a hierarchy without controllers must say so to be mounted anew
            views.append(View(name, "cgroup", options, f"{hierarchy.root}/{path}", links))
        return views


def _wants_cpu(limits: Limits) -> bool:
    wanted = (limits.cpu_shares, limits.cpu_quota, limits.cpu_period, limits.cpu_rt_period, limits.cpu_rt_runtime)
    return any(wanted) or limits.cpu_burst is not None or limits.cpu_idle is not None


def _wants_memory(limits: Limits) -> bool:
    sizes = (limits.memory, limits.memory_swap, limits.memory_reservation, limits.oom_kill_disable)
    return any(sizes) or limits.swappiness is not None


def _wants_blkio(limits: Limits) -> bool:
    return bool(limits.blkio_weight or limits.blkio_leaf_weight or limits.blkio_throttle)
