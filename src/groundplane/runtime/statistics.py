"""A group's counters in the JSON that `runc events` prints, which containerd, cAdvisor and others read.

Go leaves out a member marked `omitempty` when it is zero or empty; so does this.
"""

from __future__ import annotations

from groundplane.kernel.cgroups.usage import Amount, Cpu, Io, Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from groundplane.kernel.cgroups.usage import Pressure, Usage

# runc's names for the tables of `Io`
_IO = {
    "service_bytes": "ioServiceBytesRecursive",
    "serviced": "ioServicedRecursive",
    "queued": "ioQueueRecursive",
    "service_time": "ioServiceTimeRecursive",
    "wait_time": "ioWaitTimeRecursive",
    "merged": "ioMergedRecursive",
    "time": "ioTimeRecursive",
    "sectors": "sectorsRecursive",
}
_CPUSET_NUMBERS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def document(usage: Usage) -> dict[str, Any]:
    """The `data` of an event of type `stats`."""
    return {
        "cpu": _cpu(usage.cpu or Cpu()),
        "cpuset": _cpuset(usage.cpuset),
        "memory": _memory(usage.memory or Memory()),
        "pids": _some({"current": usage.pids, "limit": usage.pids_limit}),
        "blkio": _io(usage.io or Io()),
        "hugetlb": {
            size: {**_some({"usage": a.used, "max": a.most}), "failcnt": a.failures}
            for size, a in usage.hugetlb.items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _some(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


def _cpu(cpu: Cpu) -> dict[str, Any]:
    used = {
        "total": cpu.total,
        "percpu": cpu.per_cpu,
        "percpu_kernel": cpu.per_cpu_kernel,
        "percpu_user": cpu.per_cpu_user,
    }
    throttling = {
        "periods": cpu.periods,
        "throttledPeriods": cpu.throttled_periods,
        "throttledTime": cpu.throttled_time,
    }
    return {
        "usage": {**_some(used), "kernel": cpu.kernel, "user": cpu.user},
        "throttling": _some(throttling),
        **_pressure(cpu.pressure),
    }


def _pressure(lines: Mapping[str, Pressure]) -> dict[str, Any]:
    psi = {
        kind: {"avg10": p.avg10, "avg60": p.avg60, "avg300": p.avg300, "total": p.total} for kind, p in lines.items()
    }
    return _some({"psi": psi})


def _cpuset(files: Mapping[str, str]) -> dict[str, Any]:
    lists = {"cpus": numbers(files.get("cpus", "")), "mems": numbers(files.get("mems", ""))}
    return {**_some(lists), **{name: int(files.get(name, "0")) for name in _CPUSET_NUMBERS}}


def numbers(text: str) -> list[int]:
    """`0-3,6` as [0, 1, 2, 3, 6]. cpuset(7), "List format"."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first:
            found += range(int(first), int(last if dash else first) + 1)
    return found


def _memory(memory: Memory) -> dict[str, Any]:
    return {
        **_some({"cache": memory.cache}),
        "usage": _amount(memory.used),
        "swap": _amount(memory.swap),
        "kernel": _amount(memory.kernel),
        "kernelTCP": _amount(memory.kernel_tcp),
        **_some({"raw": memory.stat}),
        **_pressure(memory.pressure),
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {
        "limit": amount.limit,
        **_some({"usage": amount.used, "max": amount.most}),
        "failcnt": amount.failures,
    }


def _io(io: Io) -> dict[str, Any]:
    tables = {
        _IO[name]: [
            _some({"major": major, "minor": minor, "op": kind, "value": value}) for major, minor, kind, value in rows
        ]
        for name, rows in io.tables.items()
    }
    return {**_some(tables), **_pressure(io.pressure)}
