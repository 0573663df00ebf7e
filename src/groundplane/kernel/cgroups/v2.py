"""Version 2: one hierarchy for everything (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno
import os

from groundplane.kernel.cgroups.contract import UNLIMITED, Limits, Stats, View
from groundplane.kernel.cgroups.tree import HostTree, check_path, flat_keyed, processes_below, remove_tree
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.tree import Tree


class V2:
    """The driver of a host whose controllers are all v2; `hybrid.py` also uses it for the tree beside v1's."""

    layout = "v2"

    def __init__(self, root: str, tree: Tree | None = None, mountpoint: str = "") -> None:
        self._root = root
        self._mountpoint = mountpoint or root
        self._tree: Tree = tree or HostTree()

    def _directory(self, path: str) -> str:
        return f"{self._root}/{check_path(path)}"

    def create(self, path: str) -> None:
        if self._tree.exists(self._directory(path)):
            return
        directory = self._root
        made: list[str] = []
        try:
            for name in path.split("/"):
                self._enable_controllers(directory)
                directory = f"{directory}/{name}"
                if self._tree.make(directory):
                    made.append(directory)
        except KernelError:
            for one in reversed(made):
                self._tree.remove(one)
            raise

    def _enable_controllers(self, directory: str) -> None:
        """Give the groups below `directory` the controllers that it has itself."""
        available = set(self._tree.read(f"{directory}/cgroup.controllers").split())
        missing = available - set(self._tree.read(f"{directory}/cgroup.subtree_control").split())
        if not missing:
            return
        try:
            self._tree.write(f"{directory}/cgroup.subtree_control", " ".join(f"+{c}" for c in sorted(missing)))
        except KernelError as error:
            if error.errno == errno.EBUSY:
                # cgroup-v2.rst, "No Internal Process Constraint".
                hint = "processes live in this group itself; controllers can be given on only by one without any"
                raise KernelError("write", error.errno, f"{directory}/cgroup.subtree_control", hint) from None
            for controller in sorted(missing):  # one of them may be refused (cpu with real-time tasks): take the rest
                try:
                    self._tree.write(f"{directory}/cgroup.subtree_control", f"+{controller}")
                except KernelError as refused:
                    if refused.errno not in (errno.EINVAL, errno.EBUSY, errno.EOPNOTSUPP):
                        raise

    def exists(self, path: str) -> bool:
        return self._tree.exists(self._directory(path))

    def set(self, path: str, limits: Limits) -> list[str]:
        directory = self._directory(path)
        degraded: list[str] = []
        for file, value in _files(limits, degraded):
            if not self._tree.exists(f"{directory}/{file}"):
                controller = file.partition(".")[0]
                degraded.append(f"the cgroup controller {controller} has no {file} on this host: it is not set")
                continue
            self._tree.write(f"{directory}/{file}", value)
        for name, major, minor, rate in limits.blkio_throttle:
            self._tree.write(f"{directory}/io.max", f"{major}:{minor} {_IO_MAX[name]}={rate}")
        if limits.devices is not None:
            from groundplane.kernel.cgroups.device_program import attach_rules  # late: v1 hosts never need it

            attach_rules(directory, limits.devices)
        for file, value in (limits.unified or {}).items():
            if "/" in file or not self._tree.exists(f"{directory}/{file}"):
                raise KernelError("write", errno.ENOENT, f"{directory}/{file}", "no such file of this cgroup")
            self._tree.write(f"{directory}/{file}", value)
        return degraded

    def attach(self, path: str, pid: int) -> None:
        self._tree.write(f"{self._directory(path)}/cgroup.procs", str(pid))

    def clone_fd(self, path: str) -> int:
        directory = self._directory(path)
        try:
            return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError.of("open", error, directory) from error

    def processes(self, path: str) -> list[int]:
        return sorted(processes_below(self._tree, self._directory(path)))

    def _value(self, path: str, file: str) -> str | None:
        name = f"{self._directory(path)}/{file}"
        return self._tree.read(name).strip() if self._tree.exists(name) else None

    def stats(self, path: str) -> Stats:
        cpu = self._value(path, "cpu.stat")
        if cpu is None:
            raise KernelError("read", errno.ENOENT, self._directory(path))
        used = self._value(path, "memory.current")
        inactive = flat_keyed(self._value(path, "memory.stat") or "").get("inactive_file", 0)
        limit = self._value(path, "memory.max")
        pids = self._value(path, "pids.current")
        return Stats(
            cpu_ns=flat_keyed(cpu).get("usage_usec", 0) * 1000,
            memory=None if used is None else max(int(used) - inactive, 0),
            memory_limit=int(limit) if limit is not None and limit != "max" else None,
            pids=None if pids is None else int(pids),
        )

    def oom_count(self, path: str) -> int:
        return flat_keyed(self._value(path, "memory.events") or "").get("oom_kill", 0)

    def freeze(self, path: str) -> None:
        self._tree.write(f"{self._directory(path)}/cgroup.freeze", "1")  # Linux ≥ 5.2
        for attempt in range(1000):
            if flat_keyed(self._value(path, "cgroup.events") or "").get("frozen"):
                return
            self._tree.pause(0.0001 if attempt < 50 else 0.002)
        self.thaw(path)
        raise KernelError("freeze", errno.EBUSY, path, "a process of it does not stop")

    def thaw(self, path: str) -> None:
        self._tree.write(f"{self._directory(path)}/cgroup.freeze", "0")

    def frozen(self, path: str) -> bool:
        return self._value(path, "cgroup.freeze") == "1"

    def kill(self, path: str) -> None:
        directory = self._directory(path)
        if not self._tree.exists(directory):
            return
        if self._tree.exists(f"{directory}/cgroup.kill"):  # Linux ≥ 5.14: atomic, forks included
            self._tree.write(f"{directory}/cgroup.kill", "1")
            return
        raise KernelError("kill", errno.ENOSYS, path, "this kernel has no cgroup.kill (Linux 5.14 is needed)")

    def remove(self, path: str) -> None:
        remove_tree(self._tree, self._directory(path))

    def paths_of(self, pid: int) -> dict[str, str]:
        for line in self._tree.read(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::"):
                path = line[3:]
                return {"": self._mountpoint + (path if path != "/" else "")}
        return {}

    def views(self, path: str) -> list[View]:
        return [View("", "cgroup2", (), self._directory(path), ())]


_IO_MAX = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}


def cpu_weight(shares: int) -> int:
    """v1's 2..262144 on v2's 1..10000: runc's linear conversion, which podman and Kubernetes expect."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def io_weight(weight: int) -> int:
    """v1's 10..1000 on v2's 1..10000, as runc converts."""
    return 1 + (weight - 10) * 9999 // 990


def _size(value: int) -> str:
    return "max" if value == UNLIMITED else str(value)


def _files(limits: Limits, degraded: list[str]) -> list[tuple[str, str]]:
    """The files to write for `limits`, in order; a sentence in `degraded` for what v2 has no means for."""
    files: list[tuple[str, str]] = []
    if limits.cpu_shares:
        files.append(("cpu.weight", str(cpu_weight(limits.cpu_shares))))
    if limits.cpu_quota or limits.cpu_period:
        quota = str(limits.cpu_quota) if limits.cpu_quota and limits.cpu_quota > 0 else "max"
        files.append(("cpu.max", f"{quota} {limits.cpu_period or 100000}"))
    if limits.cpu_burst is not None:
        files.append(("cpu.max.burst", str(limits.cpu_burst)))
    if limits.cpu_idle is not None:
        files.append(("cpu.idle", str(limits.cpu_idle)))
    if limits.cpuset_cpus:
        files.append(("cpuset.cpus", limits.cpuset_cpus))
    if limits.cpuset_mems:
        files.append(("cpuset.mems", limits.cpuset_mems))
    files += _memory_files(limits)
    if limits.pids is not None:
        files.append(("pids.max", str(limits.pids) if limits.pids > 0 else "max"))
    if limits.blkio_weight:
        files.append(("io.weight", str(io_weight(limits.blkio_weight))))
    files += [(f"hugetlb.{size}.max", str(limit)) for size, limit in limits.hugetlb]
    for what, wanted in (
        ("real-time CPU budgets", limits.cpu_rt_period or limits.cpu_rt_runtime),
        ("memory.swappiness", limits.swappiness is not None),
        ("disabling the OOM killer", limits.oom_kill_disable),
        ("network classes", limits.net_classid is not None or limits.net_priorities),
        ("leaf weights", limits.blkio_leaf_weight),
    ):
        if wanted:
            degraded.append(f"cgroup v2 has no {what}: not set")
    return files


def _memory_files(limits: Limits) -> list[tuple[str, str]]:
    files: list[tuple[str, str]] = []
    if limits.memory_swap:
        # v1 counts memory and swap together, v2 swap alone.
        swap = limits.memory_swap
        if swap != UNLIMITED:
            if not limits.memory or limits.memory == UNLIMITED or limits.memory > swap:
                hint = "the limit of memory and swap must not be below that of memory"
                raise KernelError("cgroup", errno.EINVAL, "memory.swap.max", hint)
            swap -= limits.memory
        files.append(("memory.swap.max", _size(swap)))
    if limits.memory:
        files.append(("memory.max", _size(limits.memory)))
    if limits.memory_reservation:
        files.append(("memory.low", _size(limits.memory_reservation)))
    return files
