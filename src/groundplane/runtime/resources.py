"""OCI's `linux.resources` as the kernel dictionary's plain limits."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.kernel.cgroups.contract import DeviceRule, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.oci.runtime import Config
    from groundplane.oci.runtime_resources import BlockIo, Cpu, Memory, Resources

_MINUS_ONE = 2**64 - 1  # what Docker's -1, "not given", becomes on its way


def _rule(allow: bool, kind: str, major: int | None, minor: int | None, access: str) -> DeviceRule:
    return DeviceRule(allow=allow, kind=kind, major=major, minor=minor, access=access)


_DENY_ALL = _rule(False, "a", None, None, "rwm")

# What every container may use, whatever its document says, so that the nodes it always has work (config-linux.md,
# "Default Devices"; runc's list): making nodes, null, zero, full, random, urandom, tty, console, ptmx, pts.
_ALWAYS = (
    _rule(True, "c", None, None, "m"),
    _rule(True, "b", None, None, "m"),
    _rule(True, "c", 1, 3, "rwm"),
    _rule(True, "c", 1, 5, "rwm"),
    _rule(True, "c", 1, 7, "rwm"),
    _rule(True, "c", 1, 8, "rwm"),
    _rule(True, "c", 1, 9, "rwm"),
    _rule(True, "c", 5, 0, "rwm"),
    _rule(True, "c", 5, 1, "rwm"),
    _rule(True, "c", 5, 2, "rwm"),
    _rule(True, "c", 136, None, "rwm"),
)


def limits_of(resources: Resources | None) -> Limits:
    """Everything denied first, then the document's device rules in order, then those of every container.

    Raises GroundError, in runc's words, for a value that no kernel takes.
    """
    limits = Limits(devices=_device_rules(resources))
    if resources is None:
        return limits
    if (memory := resources.memory) is not None:
        _set_memory(limits, memory)
    if (cpu := resources.cpu) is not None:
        _set_cpu(limits, cpu)
    limits.pids = resources.pids_limit or None  # 0 is as good as absent to runc
    if (block := resources.block_io) is not None:
        _set_block_io(limits, block)
    limits.hugetlb = [(one.page_size, one.limit) for one in resources.hugepage_limits]
    if (network := resources.network) is not None:
        limits.net_classid = network.class_id or None
        limits.net_priorities = [(one.name, one.priority) for one in network.priorities]
    limits.rdma = [(name, one.hca_handles, one.hca_objects) for name, one in resources.rdma.items()]
    limits.unified = resources.unified or None
    return limits


def notices_of(resources: Resources | None) -> list[str]:
    """What is passed over, as runc does, for want of a kernel that has it; its sentence."""
    memory = resources.memory if resources else None
    if memory is not None and (memory.kernel or memory.kernel_tcp):
        return ["Kernel memory settings are ignored and will be removed"]  # Linux ≥ 5.16 has none
    return []


def cgroup_owner(config: Config) -> int | None:
    """Which user of the host shall own the container's cgroup; None where it stays ours.

    config-linux.md, "Cgroup ownership": only with a cgroup namespace of its own and a writable mount of the hierarchy,
    because only then the container can use it, and see nothing else.
    """
    if config.process is None or not any(n.type == "cgroup" and not n.path for n in config.linux.namespaces):
        return None
    mounts = [m for m in config.mounts if m.destination == "/sys/fs/cgroup" and m.type in ("cgroup", "cgroup2")]
    if not mounts or "ro" in mounts[-1].options:
        return None
    uid = config.process.user.uid
    if not any(n.type == "user" for n in config.linux.namespaces):
        return uid
    mapped = (m for m in config.linux.uid_mappings if m.container_id <= uid < m.container_id + m.size)
    return next((m.host_id + uid - m.container_id for m in mapped), None)


def _set_memory(limits: Limits, memory: Memory) -> None:
    limits.memory = memory.limit
    limits.memory_reservation = memory.reservation
    limits.memory_swap = memory.swap
    limits.memory_check = memory.check_before_update
    limits.oom_kill_disable = memory.disable_oom_killer
    if memory.swappiness is None or memory.swappiness == _MINUS_ONE:
        return
    if memory.swappiness > 100:
        raise GroundError(f"invalid memory swappiness value: {memory.swappiness} (valid range is 0-100)")
    limits.swappiness = memory.swappiness


def _set_cpu(limits: Limits, cpu: Cpu) -> None:
    if cpu.shares and cpu.shares < 2:
        raise GroundError("the minimum allowed cpu-shares is 2")
    if cpu.shares and cpu.shares > 262144:
        raise GroundError("the maximum allowed cpu-shares is 262144")
    limits.cpu_shares = cpu.shares
    limits.cpu_quota = cpu.quota
    limits.cpu_period = cpu.period
    limits.cpu_burst = cpu.burst
    limits.cpu_rt_runtime = cpu.realtime_runtime
    limits.cpu_rt_period = cpu.realtime_period
    limits.cpuset_cpus = cpu.cpus or None
    limits.cpuset_mems = cpu.mems or None
    limits.cpu_idle = cpu.idle


def _set_block_io(limits: Limits, block: BlockIo) -> None:
    limits.blkio_weight = block.weight
    limits.blkio_leaf_weight = block.leaf_weight
    limits.blkio_weight_devices = [(d.major, d.minor, d.weight, d.leaf_weight) for d in block.weight_devices]
    limits.blkio_throttle = [
        (name, t.major, t.minor, t.rate)
        for name, throttles in (
            ("read_bps", block.read_bps),
            ("write_bps", block.write_bps),
            ("read_iops", block.read_iops),
            ("write_iops", block.write_iops),
        )
        for t in throttles
    ]


def _device_rules(resources: Resources | None) -> list[DeviceRule]:
    rules = [_DENY_ALL]
    for rule in resources.devices if resources else ():
        major = None if rule.major is None or rule.major < 0 else rule.major
        minor = None if rule.minor is None or rule.minor < 0 else rule.minor
        access = rule.access or "rwm"
        everything = rule.type == "a" and major is None and minor is None and set(access) == set("rwm")
        # To v1's kernel `a` means everything, whatever numbers follow; both kinds by themselves mean what was written.
        kinds = rule.type if everything or rule.type != "a" else "bc"
        rules += [_rule(rule.allow, kind, major, minor, access) for kind in kinds]
    return [*rules, *_ALWAYS]
