"""What version 1's controllers take for each limit, in which order (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import errno

from groundplane.kernel.cgroups.contract import UNLIMITED, Limits
from groundplane.kernel.cgroups.v1_devices import exceptions
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from groundplane.kernel.cgroups.tree import Tree

    Setter = Callable[[Tree, str, Limits, list[str]], None]


def wanted(limits: Limits) -> list[tuple[str, Setter]]:
    """The controllers that `limits` needs, each with the function to call with (tree, directory, limits, degraded)."""
    table: tuple[tuple[str, bool, Setter], ...] = (
        ("cpu", _wants_cpu(limits), _set_cpu),
        ("cpuset", bool(limits.cpuset_cpus or limits.cpuset_mems), _set_cpuset),
        ("memory", _wants_memory(limits), _set_memory),
        ("pids", limits.pids is not None, _set_pids),
        ("blkio", _wants_blkio(limits), _set_blkio),
        ("hugetlb", bool(limits.hugetlb), _set_hugetlb),
        ("net_cls", limits.net_classid is not None, _set_net_cls),
        ("net_prio", bool(limits.net_priorities), _set_net_prio),
        ("rdma", bool(limits.rdma), set_rdma),
        ("devices", limits.devices is not None, _set_devices),
    )
    return [(controller, apply) for controller, needed, apply in table if needed]


def _wants_cpu(limits: Limits) -> bool:
    some = (limits.cpu_shares, limits.cpu_quota, limits.cpu_period, limits.cpu_rt_period, limits.cpu_rt_runtime)
    return any(some) or limits.cpu_burst is not None or limits.cpu_idle is not None


def _wants_memory(limits: Limits) -> bool:
    sizes = (limits.memory, limits.memory_swap, limits.memory_reservation, limits.oom_kill_disable)
    return any(sizes) or limits.swappiness is not None


def _wants_blkio(limits: Limits) -> bool:
    weights = limits.blkio_weight or limits.blkio_leaf_weight or limits.blkio_weight_devices
    return bool(weights or limits.blkio_throttle)


def _set_cpu(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    if limits.cpu_idle is not None:
        tree.write(f"{directory}/cpu.idle", str(limits.cpu_idle))
    if limits.cpu_shares and limits.cpu_idle != 1:  # an idle group has no shares, and the kernel refuses to set them
        tree.write(f"{directory}/cpu.shares", str(limits.cpu_shares))
    cfs = (("cpu.cfs_period_us", limits.cpu_period or None), ("cpu.cfs_burst_us", limits.cpu_burst))
    _set_share(tree, directory, ("cpu.cfs_quota_us", limits.cpu_quota), *cfs)
    rt = ("cpu.rt_runtime_us", limits.cpu_rt_runtime)
    _set_share(tree, directory, rt, ("cpu.rt_period_us", limits.cpu_rt_period or None))


def _set_share(tree: Tree, directory: str, share: tuple[str, int | None], *fitting: tuple[str, int | None]) -> None:
    """The kernel refuses a period or a burst that the present share of it does not fit, and the other way round.

    As runc does: try them first, and what was refused once more behind the share.
    """
    again = []
    for file, value in fitting:
        if value is None:
            continue
        try:
            tree.write(f"{directory}/{file}", str(value))
        except KernelError as error:
            if error.errno != errno.EINVAL or not share[1]:
                raise
            again.append((file, value))
    if share[1]:
        tree.write(f"{directory}/{share[0]}", str(share[1]))
    for file, value in again:
        tree.write(f"{directory}/{file}", str(value))


def _set_cpuset(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    if limits.cpuset_cpus:
        tree.write(f"{directory}/cpuset.cpus", limits.cpuset_cpus)
    if limits.cpuset_mems:
        tree.write(f"{directory}/cpuset.mems", limits.cpuset_mems)


def _set_memory(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    memory, swap = limits.memory, limits.memory_swap
    if memory == UNLIMITED and not swap:
        swap = UNLIMITED  # memory.limit_in_bytes may not exceed memory.memsw.limit_in_bytes
    writes = [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", swap)]
    if memory and swap and _grows(tree, directory, swap):
        writes.reverse()  # the larger of the two first, whichever direction we go
    for file, value in writes:
        if value is None or value == 0:
            continue
        if "memsw" in file and not tree.exists(f"{directory}/{file}"):
            if limits.memory_swap:
                degraded.append("cannot set memory+swap limit: this kernel does not account swap (swapaccount=0)")
            continue
        _set_size(tree, f"{directory}/{file}", value, directory)
    if limits.memory_reservation:
        tree.write(f"{directory}/memory.soft_limit_in_bytes", str(limits.memory_reservation))
    if limits.swappiness is not None:
        tree.write(f"{directory}/memory.swappiness", str(limits.swappiness))
    if limits.oom_kill_disable:
        tree.write(f"{directory}/memory.oom_control", "1")


def _set_size(tree: Tree, file: str, value: int, directory: str) -> None:
    try:
        tree.write(file, str(value))
    except KernelError as error:
        if error.errno != errno.EBUSY:
            raise
        used = tree.read(f"{directory}/memory.usage_in_bytes").strip()
        peak = tree.read(f"{directory}/memory.max_usage_in_bytes").strip()
        hint = f"unable to set memory limit to {value} (current usage: {used}, peak usage: {peak})"
        raise KernelError("write", error.errno, file, hint) from None


def _grows(tree: Tree, directory: str, swap: int) -> bool:
    file = f"{directory}/memory.memsw.limit_in_bytes"
    return swap == UNLIMITED or (tree.exists(file) and int(tree.read(file)) < swap)


def _set_pids(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    pids = limits.pids or 0
    tree.write(f"{directory}/pids.max", str(pids) if pids > 0 else "max")


def _set_blkio(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    # blkio.weight was CFQ's, gone with it in Linux 5.0; BFQ's has a name of its own (block/bfq-iosched.rst).
    prefix = next((p for p in ("blkio.", "blkio.bfq.") if tree.exists(f"{directory}/{p}weight")), "")
    if limits.blkio_weight:
        if prefix:
            tree.write(f"{directory}/{prefix}weight", str(limits.blkio_weight))
        else:
            degraded.append("cannot set blkio weight: no I/O scheduler of this host has weights")
    for major, minor, weight, leaf_weight in limits.blkio_weight_devices:
        for name, value in (("weight_device", weight), ("leaf_weight_device", leaf_weight)):
            if value and prefix and tree.exists(f"{directory}/{prefix}{name}"):
                tree.write(f"{directory}/{prefix}{name}", f"{major}:{minor} {value}")
            elif value:
                degraded.append(f"cannot set blkio {name}: this kernel has no such file")
    if limits.blkio_leaf_weight:
        if tree.exists(f"{directory}/blkio.leaf_weight"):
            tree.write(f"{directory}/blkio.leaf_weight", str(limits.blkio_leaf_weight))
        else:
            degraded.append("cannot set blkio leaf_weight: this kernel has no such file (gone since Linux 5.0)")
    for name, major, minor, rate in limits.blkio_throttle:
        tree.write(f"{directory}/blkio.throttle.{name}_device", f"{major}:{minor} {rate}")


def _set_hugetlb(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    for size, limit in limits.hugetlb:
        tree.write(f"{directory}/hugetlb.{size}.limit_in_bytes", str(limit))
        reserved = f"{directory}/hugetlb.{size}.rsvd.limit_in_bytes"  # Linux ≥ 5.7: counted when reserved, not touched
        if tree.exists(reserved):
            tree.write(reserved, str(limit))


def _set_net_cls(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    tree.write(f"{directory}/net_cls.classid", str(limits.net_classid))


def _set_net_prio(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    for interface, priority in limits.net_priorities:
        tree.write(f"{directory}/net_prio.ifpriomap", f"{interface} {priority}")


def set_rdma(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    """The same file on both versions (cgroup-v1/rdma.rst)."""
    for device, handles, objects in limits.rdma:
        words = [device]
        words += [f"{name}={n}" for name, n in (("hca_handle", handles), ("hca_object", objects)) if n is not None]
        tree.write(f"{directory}/rdma.max", " ".join(words))


def _set_devices(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    # Denying `a` empties the list of exceptions, so that the rules that follow are the whole truth.
    # (cgroup-v1/devices.rst; EINVAL where the group has children.)
    for rule in exceptions(limits.devices or ()):
        everything = rule.kind == "a" and rule.major is None and rule.minor is None
        text = "a" if everything else str(rule)
        tree.write(f"{directory}/devices.{'allow' if rule.allow else 'deny'}", text)
