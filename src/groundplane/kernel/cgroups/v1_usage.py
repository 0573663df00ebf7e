"""Version 1's counters, controller by controller (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os

from groundplane.kernel.cgroups.tree import flat_keyed
from groundplane.kernel.cgroups.usage import Amount, Cpu, Io, Memory, Usage, number, optional, page_sizes, rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundplane.kernel.cgroups.tree import Tree

_CPUSET = (
    "cpus",
    "mems",
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
)
_IO = {
    "service_bytes": "io_service_bytes_recursive",
    "serviced": "io_serviced_recursive",
    "queued": "io_queued_recursive",
    "service_time": "io_service_time_recursive",
    "wait_time": "io_wait_time_recursive",
    "merged": "io_merged_recursive",
    "time": "time_recursive",
    "sectors": "sectors_recursive",
}


def usage_of(tree: Tree, directories: Mapping[str, str]) -> Usage:
    """The counters of a group that lies in `directories` (by controller). Raises KernelError where it is gone."""
    usage = Usage()
    if "cpuacct" in directories or "cpu" in directories:
        usage.cpu = _cpu(tree, directories.get("cpuacct"), directories.get("cpu"))
    if (cpuset := directories.get("cpuset")) is not None:
        files = {name: optional(tree, f"{cpuset}/cpuset.{name}") for name in _CPUSET}
        usage.cpuset = {name: text for name, text in files.items() if text}
    if (memory := directories.get("memory")) is not None:
        usage.memory = _memory(tree, memory)
    if (pids := directories.get("pids")) is not None:
        usage.pids = int(tree.read(f"{pids}/pids.current"))
        limit = tree.read(f"{pids}/pids.max").strip()
        usage.pids_limit = 0 if limit == "max" else int(limit)
    if (blkio := directories.get("blkio")) is not None:
        usage.io = _io(tree, blkio)
    if (hugetlb := directories.get("hugetlb")) is not None:
        usage.hugetlb = {size: _amount(tree, f"{hugetlb}/hugetlb.{size}") for size in page_sizes(tree)}
    if (devices := directories.get("rdma")) is not None:
        usage.rdma = rdma(optional(tree, f"{devices}/rdma.current"))
    return usage


def _cpu(tree: Tree, accounting: str | None, bandwidth: str | None) -> Cpu:
    cpu = Cpu()
    if accounting is not None:
        cpu.total = int(tree.read(f"{accounting}/cpuacct.usage"))
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # cpuacct.stat counts USER_HZ
        split = flat_keyed(optional(tree, f"{accounting}/cpuacct.stat"))
        cpu.user, cpu.kernel = split.get("user", 0) * tick, split.get("system", 0) * tick
        cpu.per_cpu = [int(word) for word in optional(tree, f"{accounting}/cpuacct.usage_percpu").split()]
        # `cpu user system`, then a line for each CPU
        for line in optional(tree, f"{accounting}/cpuacct.usage_all").splitlines()[1:]:
            _, user, kernel = line.split()
            cpu.per_cpu_user.append(int(user))
            cpu.per_cpu_kernel.append(int(kernel))
    if bandwidth is not None:
        stat = flat_keyed(optional(tree, f"{bandwidth}/cpu.stat"))
        cpu.periods = stat.get("nr_periods", 0)
        cpu.throttled_periods = stat.get("nr_throttled", 0)
        cpu.throttled_time = stat.get("throttled_time", 0)
    return cpu


def _memory(tree: Tree, directory: str) -> Memory:
    memory = Memory()
    memory.stat = flat_keyed(tree.read(f"{directory}/memory.stat"))
    memory.cache = memory.stat.get("cache", 0)
    memory.used = _amount(tree, f"{directory}/memory")
    memory.swap = _amount(tree, f"{directory}/memory.memsw")
    memory.kernel = _amount(tree, f"{directory}/memory.kmem")
    memory.kernel_tcp = _amount(tree, f"{directory}/memory.kmem.tcp")
    return memory


def _amount(tree: Tree, prefix: str) -> Amount:
    """`PREFIX.usage_in_bytes` and its siblings."""
    files = ("usage_in_bytes", "limit_in_bytes", "max_usage_in_bytes", "failcnt")
    used, limit, most, failures = (number(optional(tree, f"{prefix}.{file}")) for file in files)
    return Amount(used, limit, most, failures)


def _io(tree: Tree, directory: str) -> Io:
    io = Io()
    for name, file in _IO.items():
        # BFQ's files where it schedules a disk, else those that throttling keeps; CFQ's on old kernels.
        for prefix in ("blkio.", "blkio.bfq.", "blkio.throttle."):
            rows = _rows(optional(tree, f"{directory}/{prefix}{file}"))
            if rows:
                io.tables[name] = rows
                break
    return io


def _rows(text: str) -> list[tuple[int, int, str, int]]:
    """`8:0 Read 4096` lines; `8:0 7` where there are no kinds; the last line, `Total 0`, is passed over."""
    rows = []
    for line in text.splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if colon and words:
            rows.append((int(major), int(minor), words[0] if len(words) > 1 else "", int(words[-1])))
    return rows
