"""Control group file systems in memory: what the drivers rely on of the kernel's, refusals included.

Each mounted root is declared with its version and controllers; a directory made below it gets its files at once, a
process written to `cgroup.procs` or `tasks` leaves its old group, and a group with a process in it cannot be removed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from groundplane.kernel.errors import KernelError

_PSI = "some avg10=0.50 avg60=0.25 avg300=0.10 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7"
_V1_FILES = {
    "cpu": {
        "cpu.shares": "1024",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_burst_us": "0",
        "cpu.rt_period_us": "1000000",
        "cpu.rt_runtime_us": "0",
        "cpu.idle": "0",
        "cpu.stat": "nr_periods 4\nnr_throttled 2\nthrottled_time 9000",
    },
    "cpuacct": {
        "cpuacct.usage": "0",
        "cpuacct.stat": "user 0\nsystem 0",
        "cpuacct.usage_percpu": "0 0",
        "cpuacct.usage_all": "cpu user system\n0 0 0\n1 0 0",
    },
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": "", "cpuset.cpu_exclusive": "0", "cpuset.sched_load_balance": "1"},
    "memory": {
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.memsw.limit_in_bytes": "9223372036854771712",
        "memory.soft_limit_in_bytes": "9223372036854771712",
        "memory.swappiness": "60",
        "memory.usage_in_bytes": "0",
        "memory.max_usage_in_bytes": "0",
        "memory.failcnt": "0",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        "memory.stat": "cache 4096\ntotal_inactive_file 0",
    },
    "pids": {"pids.max": "max", "pids.current": "0"},
    "freezer": {"freezer.state": "THAWED"},
    "devices": {"devices.allow": "", "devices.deny": ""},
    "blkio": {
        "blkio.bfq.weight": "100",
        "blkio.bfq.weight_device": "",
        "blkio.bfq.io_service_bytes_recursive": "Total 0",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 512\n8:0 Write 0\nTotal 512",
        "blkio.throttle.read_bps_device": "",
        "blkio.throttle.write_bps_device": "",
        "blkio.throttle.read_iops_device": "",
        "blkio.throttle.write_iops_device": "",
    },
    "hugetlb": {
        "hugetlb.2MB.limit_in_bytes": "9223372036854771712",
        "hugetlb.2MB.rsvd.limit_in_bytes": "9223372036854771712",
        "hugetlb.2MB.usage_in_bytes": "0",
        "hugetlb.2MB.max_usage_in_bytes": "2097152",
        "hugetlb.2MB.failcnt": "3",
    },
    "rdma": {"rdma.max": "", "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000"},
    "net_cls": {"net_cls.classid": "0"},
    "net_prio": {"net_prio.ifpriomap": ""},
}
_V2_FILES = {
    "cpu": {
        "cpu.weight": "100",
        "cpu.max": "max 100000",
        "cpu.max.burst": "0",
        "cpu.idle": "0",
        "cpu.pressure": _PSI,
    },
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "memory": {
        "memory.max": "max",
        "memory.high": "max",
        "memory.low": "0",
        "memory.peak": "0",
        "memory.swap.max": "max",
        "memory.swap.current": "0",
        "memory.current": "0",
        "memory.stat": "file 4096\ninactive_file 0",
        "memory.events": "low 0\nmax 0\noom 0\noom_kill 0",
        "memory.pressure": _PSI,
    },
    "pids": {"pids.max": "max", "pids.current": "0"},
    "io": {
        "io.max": "",
        "io.weight": "default 100",
        "io.stat": "8:0 rbytes=512 wbytes=0 rios=1 wios=0 dbytes=0 dios=0",
        "io.pressure": _PSI,
    },
    "hugetlb": {
        "hugetlb.2MB.max": "max",
        "hugetlb.2MB.rsvd.max": "max",
        "hugetlb.2MB.current": "0",
        "hugetlb.2MB.events": "max 3",
    },
    "rdma": {"rdma.max": "", "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000"},
}
_V2_CORE = {
    "cgroup.controllers": "",
    "cgroup.subtree_control": "",
    "cgroup.freeze": "0",
    "cgroup.events": "populated 0\nfrozen 0",
    "cgroup.kill": "",
    "cgroup.threads": "",
    "cpu.stat": "usage_usec 0\nuser_usec 0\nsystem_usec 0\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9",
}
_PROCESSES = ("cgroup.procs", "tasks")
_HUGE_PAGES = "/sys/kernel/mm/hugepages"


class FakeTree:
    """See the module. `files` maps a path to its text; `writes` is every write in order."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.directories: set[str] = set()
        self.writes: list[tuple[str, str]] = []
        self.owners: dict[str, int] = {}
        self.paused = 0.0
        self.dying: set[int] = set()  # killed, and leaving its groups at the next pause
        self._roots: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._places: dict[tuple[str, int], str] = {}  # (root, pid) → directory

    def mount(self, root: str, version: int, *controllers: str) -> str:
        self._roots[root] = (version, controllers)
        self.directories.add(root)
        self._fill(root, root)
        if "cpuset" in controllers:
            self.files[f"{root}/cpuset.cpus"] = "0-1"
            self.files[f"{root}/cpuset.mems"] = "0"
        return root

    def _root_of(self, path: str) -> str:
        return max((r for r in self._roots if path == r or path.startswith(r + "/")), key=len)

    def _fill(self, root: str, directory: str) -> None:
        version, controllers = self._roots[root]
        table = _V1_FILES if version == 1 else _V2_FILES
        if version == 2:
            self.files.update({f"{directory}/{name}": text for name, text in _V2_CORE.items()})
            if directory != root:
                parent = directory.rpartition("/")[0]
                controllers = tuple(self.files[f"{parent}/cgroup.subtree_control"].split())
            self.files[f"{directory}/cgroup.controllers"] = " ".join(controllers)
        for controller in controllers:
            self.files.update({f"{directory}/{name}": text for name, text in table.get(controller, {}).items()})

    # The port itself.

    def make(self, path: str) -> bool:
        if path in self.directories:
            return False
        if path.rpartition("/")[0] not in self.directories:
            raise KernelError("mkdir", errno.ENOENT, path)
        self.directories.add(path)
        self._fill(self._root_of(path), path)
        return True

    def remove(self, path: str) -> None:
        if path not in self.directories:
            return
        if path in self._places.values() or self.children(path):
            raise KernelError("rmdir", errno.EBUSY, path)
        self.directories.discard(path)
        self.files = {name: text for name, text in self.files.items() if name.rpartition("/")[0] != path}

    def children(self, path: str) -> list[str]:
        if path == _HUGE_PAGES:
            return ["hugepages-2048kB", "hugepages-1048576kB"]
        return sorted(d.rpartition("/")[2] for d in self.directories if d.rpartition("/")[0] == path)

    def clear(self, path: str, remove: Callable[[Callable[[], None]], None]) -> None:
        for directory in sorted(self.directories, key=len, reverse=True):
            if directory.startswith(f"{path}/"):
                remove(partial(self.remove, directory))

    def pids(self, path: str) -> list[int]:
        below = [d for d in sorted(self.directories) if d == path or d.startswith(f"{path}/")]
        return [pid for directory in below for pid in map(int, self.read(f"{directory}/cgroup.procs").split())]

    def exists(self, path: str) -> bool:
        return path in self.directories or path in self.files or path == f"{path.rpartition('/')[0]}/cgroup.procs"

    def read(self, path: str) -> str:
        directory, _, name = path.rpartition("/")
        if name == "cgroup.procs" and directory in self.directories:
            return "".join(f"{pid}\n" for (_, pid), place in sorted(self._places.items()) if place == directory)
        if path not in self.files:
            raise KernelError("read", errno.ENOENT, path)
        return self.files[path] + "\n"

    def give(self, path: str, uid: int) -> None:
        if not self.exists(path):
            raise KernelError("chown", errno.ENOENT, path)
        self.owners[path] = uid

    def write(self, path: str, text: str) -> None:
        directory, _, name = path.rpartition("/")
        if directory not in self.directories or (name not in _PROCESSES and path not in self.files):
            raise KernelError("write", errno.ENOENT, path)
        self.writes.append((path, text))
        if name in _PROCESSES:
            self._attach(directory, int(text))
        elif name == "cgroup.kill":
            self.dying |= {pid for (_, pid), place in self._places.items() if (place + "/").startswith(directory + "/")}
        elif name == "cgroup.freeze":
            self.files[path] = text
            self.files[f"{directory}/cgroup.events"] = f"populated 0\nfrozen {text}"
        elif name == "cgroup.subtree_control":
            self._enable(directory, text)
        else:
            if text == "-1" and name.endswith("limit_in_bytes"):
                text = "9223372036854771712"  # LONG_MAX in whole pages
            self._check(directory, name, text)
            self.files[path] = text

    def _enable(self, directory: str, text: str) -> None:
        have = set(self.files[f"{directory}/cgroup.subtree_control"].split())
        for word in text.split():
            if word[1:] not in self.files[f"{directory}/cgroup.controllers"].split():
                raise KernelError("write", errno.EINVAL, directory)
            have.add(word[1:])
        if directory not in self._roots and directory in self._places.values():
            raise KernelError("write", errno.EBUSY, directory)
        self.files[f"{directory}/cgroup.subtree_control"] = " ".join(sorted(have))

    def _attach(self, directory: str, pid: int) -> None:
        if self.files.get(f"{directory}/cpuset.cpus") == "" and self._roots[self._root_of(directory)][0] == 1:
            raise KernelError("write", errno.ENOSPC, f"{directory}/cgroup.procs")
        if self.files.get(f"{directory}/cgroup.subtree_control") and directory not in self._roots:
            raise KernelError("write", errno.EBUSY, f"{directory}/cgroup.procs")
        self._places[(self._root_of(directory), pid)] = directory

    def _check(self, directory: str, name: str, text: str) -> None:
        """Rules of the kernel between files of one group."""
        if name in ("cpu.shares", "cpu.weight") and self.files[f"{directory}/cpu.idle"] == "1":
            raise KernelError("write", errno.EINVAL, f"{directory}/{name}")
        if name in ("cpu.cfs_burst_us", "cpu.cfs_quota_us"):
            self._check_burst(directory, name, int(text))
        if name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            new = {
                **{n: self.files[f"{directory}/{n}"] for n in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")}
            }
            new[name] = text
            memory, both = (int(v) for v in new.values())
            if memory > both:
                raise KernelError("write", errno.EINVAL, f"{directory}/{name}")

    def _check_burst(self, directory: str, name: str, value: int) -> None:
        """tg_set_cfs_bandwidth(): a burst above the quota is refused, and a quota below the burst."""
        values = {n: int(self.files[f"{directory}/{n}"]) for n in ("cpu.cfs_burst_us", "cpu.cfs_quota_us")}
        values[name] = value
        burst, quota = values["cpu.cfs_burst_us"], values["cpu.cfs_quota_us"]
        if quota >= 0 and burst > quota:
            raise KernelError("write", errno.EINVAL, f"{directory}/{name}")

    def kill(self, pid: int) -> None:
        self.dying.add(pid)

    def pause(self, seconds: float) -> None:
        self.paused += seconds
        self._places = {key: place for key, place in self._places.items() if key[1] not in self.dying}
        self.dying.clear()
