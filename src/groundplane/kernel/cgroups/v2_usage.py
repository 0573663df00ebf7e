"""Version 2's counters (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from groundplane.kernel.cgroups.tree import flat_keyed
from groundplane.kernel.cgroups.usage import (
    NO_LIMIT,
    Amount,
    Cpu,
    Io,
    Memory,
    Usage,
    number,
    optional,
    page_sizes,
    pressure,
    rdma,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.tree import Tree

_IO = {
    "rbytes": ("service_bytes", "Read"),
    "wbytes": ("service_bytes", "Write"),
    "rios": ("serviced", "Read"),
    "wios": ("serviced", "Write"),
}


def usage_of(tree: Tree, directory: str) -> Usage:
    """The counters of the group `directory`. Raises KernelError where it is gone."""
    usage = Usage()
    usage.cpu = _cpu(tree, directory)
    if tree.exists(f"{directory}/memory.current"):
        usage.memory = _memory(tree, directory)
    if tree.exists(f"{directory}/pids.current"):
        usage.pids = int(tree.read(f"{directory}/pids.current"))
        limit = tree.read(f"{directory}/pids.max").strip()
        usage.pids_limit = 0 if limit == "max" else int(limit)
    if tree.exists(f"{directory}/io.stat"):
        usage.io = _io(tree, directory)
    for size in page_sizes(tree):
        if tree.exists(f"{directory}/hugetlb.{size}.current"):
            usage.hugetlb[size] = _hugetlb(tree, f"{directory}/hugetlb.{size}")
    usage.rdma = rdma(optional(tree, f"{directory}/rdma.current"))
    return usage


def _cpu(tree: Tree, directory: str) -> Cpu:
    stat = flat_keyed(tree.read(f"{directory}/cpu.stat"))  # there without the controller, too
    cpu = Cpu(*(stat.get(f"{name}_usec", 0) * 1000 for name in ("usage", "user", "system")))
    cpu.periods = stat.get("nr_periods", 0)
    cpu.throttled_periods = stat.get("nr_throttled", 0)
    cpu.throttled_time = stat.get("throttled_usec", 0) * 1000
    cpu.pressure = pressure(optional(tree, f"{directory}/cpu.pressure"))
    return cpu


def _memory(tree: Tree, directory: str) -> Memory:
    memory = Memory()
    memory.stat = flat_keyed(tree.read(f"{directory}/memory.stat"))
    memory.cache = memory.stat.get("file", 0)
    memory.events = flat_keyed(optional(tree, f"{directory}/memory.events"))
    memory.pressure = pressure(optional(tree, f"{directory}/memory.pressure"))
    memory.used = _amount(tree, f"{directory}/memory", memory.events.get("max", 0))
    if tree.exists(f"{directory}/memory.swap.current"):
        swap = _amount(tree, f"{directory}/memory.swap", 0)
        swap.used += memory.used.used
        swap.limit = NO_LIMIT if NO_LIMIT in (swap.limit, memory.used.limit) else swap.limit + memory.used.limit
        swap.most = 0  # two peaks at different moments have no sum
        memory.swap = swap
    return memory


def _amount(tree: Tree, prefix: str, failures: int) -> Amount:
    used, limit, most = (number(optional(tree, f"{prefix}.{file}")) for file in ("current", "max", "peak"))
    return Amount(used, limit, most, failures)


def _hugetlb(tree: Tree, prefix: str) -> Amount:
    return _amount(tree, prefix, flat_keyed(optional(tree, f"{prefix}.events")).get("max", 0))


def _io(tree: Tree, directory: str) -> Io:
    io = Io()
    io.pressure = pressure(optional(tree, f"{directory}/io.pressure"))
    for line in tree.read(f"{directory}/io.stat").splitlines():
        device, *pairs = line.split()
        major, colon, minor = device.partition(":")
        for name, _, value in (pair.partition("=") for pair in pairs if colon):
            if name in _IO:
                table, kind = _IO[name]
                io.tables.setdefault(table, []).append((int(major), int(minor), kind, int(value)))
    return io
