"""What version 2 takes for each limit, in version 1's units where the specification counts in those.

Documentation/admin-guide/cgroup-v2.rst; the conversions are runc's, which podman and Kubernetes expect.
"""

from __future__ import annotations

import errno

from groundplane.kernel.cgroups.contract import UNLIMITED, Limits
from groundplane.kernel.cgroups.v1_limits import set_rdma
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.tree import Tree

_IO_MAX = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}


def cpu_weight(shares: int) -> int:
    """v1's 2..262144 on v2's 1..10000, linearly."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def io_weight(weight: int) -> int:
    """v1's 10..1000 on v2's 1..10000, linearly."""
    return 1 + (weight - 10) * 9999 // 990


def grant(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    """Write all but device rules; a sentence in `degraded` for what this host's version 2 has no means for."""
    if limits.memory_check:
        _check_memory(tree, directory, limits)
    for file, value in _files(limits):
        if tree.exists(f"{directory}/{file}"):
            tree.write(f"{directory}/{file}", value)
        elif file == "memory.swap.max" and value in ("max", "0"):
            pass  # without swap it is both
        elif ".rsvd." not in file:  # Linux ≥ 5.7 counts reservations too
            degraded.append(f"cannot set {file.partition('.')[0]} limit: this host has no {file}")
    _set_bandwidth(tree, directory, limits, degraded)
    _set_io(tree, directory, limits, degraded)
    if limits.rdma and tree.exists(f"{directory}/rdma.max"):
        set_rdma(tree, directory, limits, degraded)
    elif limits.rdma:
        degraded.append("cannot set rdma limit: this host has no rdma.max")
    _refuse_what_is_v1s(limits, degraded)
    _set_unified(tree, directory, limits)


def _size(value: int) -> str:
    return "max" if value == UNLIMITED else str(value)


def _files(limits: Limits) -> list[tuple[str, str]]:
    """The files to write, in order."""
    files: list[tuple[str, str]] = []
    if limits.cpu_idle is not None:
        files.append(("cpu.idle", str(limits.cpu_idle)))
    if limits.cpu_shares and limits.cpu_idle != 1:  # an idle group has no weight, and the kernel refuses to set it
        files.append(("cpu.weight", str(cpu_weight(limits.cpu_shares))))
    if limits.cpuset_cpus:
        files.append(("cpuset.cpus", limits.cpuset_cpus))
    if limits.cpuset_mems:
        files.append(("cpuset.mems", limits.cpuset_mems))
    if (swap := _swap(limits)) is not None:
        files.append(("memory.swap.max", _size(swap)))
    if limits.memory:
        files.append(("memory.max", _size(limits.memory)))
    if limits.memory_reservation:
        files.append(("memory.low", _size(limits.memory_reservation)))
    if limits.pids is not None:
        files.append(("pids.max", str(limits.pids) if limits.pids > 0 else "max"))
    for size, limit in limits.hugetlb:
        files.append((f"hugetlb.{size}.max", str(limit)))
        files.append((f"hugetlb.{size}.rsvd.max", str(limit)))
    return files


def _swap(limits: Limits) -> int | None:
    """The limit of swap alone: v1 counts memory and swap together. Raises KernelError where that makes no sense."""
    memory, both = limits.memory or 0, limits.memory_swap or 0
    if not both:
        return UNLIMITED if memory == UNLIMITED else None  # as on v1: no limit for memory is none for both
    if both == UNLIMITED:
        return UNLIMITED
    if memory <= 0:
        raise KernelError("cgroup", errno.EINVAL, "memory.swap.max", "unable to set swap limit without memory limit")
    if both < memory:
        raise KernelError("cgroup", errno.EINVAL, "memory.swap.max", "memory+swap limit should be >= memory limit")
    return both - memory


def _check_memory(tree: Tree, directory: str, limits: Limits) -> None:
    """v2 would rather kill than refuse (config-linux.md, `checkBeforeUpdate`)."""
    memory, both = limits.memory or 0, limits.memory_swap or 0
    if not tree.exists(f"{directory}/memory.current"):
        return
    used = int(tree.read(f"{directory}/memory.current"))
    for what, limit in (("memory", memory), ("memory+swap", both)):
        if 0 < limit < used:
            hint = f"rejecting {what} limit {limit} < usage {used}"
            raise KernelError("cgroup", errno.EBUSY, "memory.max", hint)


def _set_bandwidth(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    """A burst that the present quota does not fit is refused (EINVAL): as on v1, try it once more behind the quota."""
    quota = limits.cpu_quota or limits.cpu_period
    burst = limits.cpu_burst
    if not tree.exists(f"{directory}/cpu.max"):
        if quota or burst is not None:
            degraded.append("cannot set cpu limit: this host has no cpu.max")
        return
    if burst is not None:
        try:
            tree.write(f"{directory}/cpu.max.burst", str(burst))
            burst = None
        except KernelError as error:
            if error.errno != errno.EINVAL or not quota:
                raise
    if quota:
        most = str(limits.cpu_quota) if limits.cpu_quota and limits.cpu_quota > 0 else "max"
        tree.write(f"{directory}/cpu.max", f"{most} {limits.cpu_period or 100000}")
    if burst is not None:
        tree.write(f"{directory}/cpu.max.burst", str(burst))


def _set_io(tree: Tree, directory: str, limits: Limits, degraded: list[str]) -> None:
    bfq = tree.exists(f"{directory}/io.bfq.weight")  # which takes 1..1000, as v1 did
    file = f"{directory}/io.bfq.weight" if bfq else f"{directory}/io.weight"
    weights = [("", limits.blkio_weight)]
    weights += [(f"{major}:{minor} ", weight) for major, minor, weight, _ in limits.blkio_weight_devices]
    for device, weight in weights:
        if weight and tree.exists(file):
            tree.write(file, f"{device}{weight if bfq else io_weight(weight)}")
        elif weight:
            degraded.append("cannot set io weight: this host has no io.weight")
    for name, major, minor, rate in limits.blkio_throttle:
        if tree.exists(f"{directory}/io.max"):
            tree.write(f"{directory}/io.max", f"{major}:{minor} {_IO_MAX[name]}={rate or 'max'}")
        else:
            degraded.append("cannot set io limit: this host has no io.max")


def _refuse_what_is_v1s(limits: Limits, degraded: list[str]) -> None:
    leaf = limits.blkio_leaf_weight or any(leaf for _, _, _, leaf in limits.blkio_weight_devices)
    for what, asked in (
        ("real-time CPU budget", limits.cpu_rt_period or limits.cpu_rt_runtime),
        ("memory swappiness", limits.swappiness is not None),
        ("OOM killer", limits.oom_kill_disable),
        ("network class", limits.net_classid is not None),
        ("network priority", bool(limits.net_priorities)),
        ("blkio leaf_weight", leaf),
    ):
        if asked:
            degraded.append(f"cannot set {what}: cgroup v2 has none")


def _set_unified(tree: Tree, directory: str, limits: Limits) -> None:
    """`linux.resources.unified`, verbatim; runc's sentences."""
    for file, value in (limits.unified or {}).items():
        if "/" in file:
            hint = f'unified resource "{file}" must be a file name (no slashes)'
            raise KernelError("cgroup", errno.EINVAL, file, hint)
        controller, dot, _ = file.partition(".")
        if not dot:
            hint = f'unified resource "{file}" must be in the form CONTROLLER.PARAMETER'
            raise KernelError("cgroup", errno.EINVAL, file, hint)
        if not tree.exists(f"{directory}/{file}"):
            available = tree.read(f"{directory}/cgroup.controllers").split()
            hint = f'unable to set unified resource "{file}"'
            if controller != "cgroup" and controller not in available:
                hint = f'unified resource "{file}" can\'t be set: controller "{controller}" not available'
            raise KernelError("cgroup", errno.ENOENT, file, hint)
        tree.write(f"{directory}/{file}", value)
