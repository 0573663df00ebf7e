"""`linux.resources` of config.json, which `update` also takes alone. OCI runtime-spec 1.2, config-linux.md."""

from __future__ import annotations

from groundplane.oci.runtime_reader import MAX_UINT32, MAX_UINT64, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DeviceRule:
    __slots__ = ("access", "allow", "major", "minor", "type")

    def __init__(self, r: Reader) -> None:
        self.allow = r.flag("allow")
        self.type = r.text("type") or "a"
        if self.type not in ("a", "c", "b"):
            raise r.error("type", f"{self.type!r} is no device type; known are a, c and b")
        self.major = r.optional_number("major", -1)
        self.minor = r.optional_number("minor", -1)
        self.access = r.text("access")
        if set(self.access) - set("rwm"):
            raise r.error("access", f"{self.access!r} is not made of r, w and m")


class Memory:
    """`kernel`, `kernelTCP` (gone from Linux 5.16) and `useHierarchy` (always on since 5.11) are only noticed."""

    __slots__ = (
        "check_before_update",
        "disable_oom_killer",
        "kernel",
        "kernel_tcp",
        "limit",
        "reservation",
        "swap",
        "swappiness",
        "use_hierarchy",
    )

    def __init__(self, r: Reader) -> None:
        self.limit = r.optional_number("limit", -1)
        self.reservation = r.optional_number("reservation", -1)
        self.swap = r.optional_number("swap", -1)
        self.kernel = r.optional_number("kernel", -1)
        self.kernel_tcp = r.optional_number("kernelTCP", -1)
        self.swappiness = r.optional_number("swappiness", 0, MAX_UINT64)
        self.disable_oom_killer = r.optional_flag("disableOOMKiller")
        self.use_hierarchy = r.optional_flag("useHierarchy")
        self.check_before_update = r.flag("checkBeforeUpdate")


class Cpu:
    __slots__ = ("burst", "cpus", "idle", "mems", "period", "quota", "realtime_period", "realtime_runtime", "shares")

    def __init__(self, r: Reader) -> None:
        self.shares = r.optional_number("shares", 0, MAX_UINT64)
        self.quota = r.optional_number("quota")
        self.burst = r.optional_number("burst", 0, MAX_UINT64)
        self.period = r.optional_number("period", 0, MAX_UINT64)
        self.realtime_runtime = r.optional_number("realtimeRuntime")
        self.realtime_period = r.optional_number("realtimePeriod", 0, MAX_UINT64)
        self.cpus = r.text("cpus")
        self.mems = r.text("mems")
        self.idle = r.optional_number("idle")


class WeightDevice:
    __slots__ = ("leaf_weight", "major", "minor", "weight")

    def __init__(self, r: Reader) -> None:
        self.major = r.number("major")
        self.minor = r.number("minor")
        self.weight = r.optional_number("weight", 0, 65535)
        self.leaf_weight = r.optional_number("leafWeight", 0, 65535)


class Throttle:
    __slots__ = ("major", "minor", "rate")

    def __init__(self, r: Reader) -> None:
        self.major = r.number("major")
        self.minor = r.number("minor")
        self.rate = r.number("rate", 0, MAX_UINT64)


class BlockIo:
    __slots__ = ("leaf_weight", "read_bps", "read_iops", "weight", "weight_devices", "write_bps", "write_iops")

    def __init__(self, r: Reader) -> None:
        self.weight = r.optional_number("weight", 0, 65535)
        self.leaf_weight = r.optional_number("leafWeight", 0, 65535)
        self.weight_devices = r.children("weightDevice", WeightDevice)
        self.read_bps = r.children("throttleReadBpsDevice", Throttle)
        self.write_bps = r.children("throttleWriteBpsDevice", Throttle)
        self.read_iops = r.children("throttleReadIOPSDevice", Throttle)
        self.write_iops = r.children("throttleWriteIOPSDevice", Throttle)


class HugepageLimit:
    __slots__ = ("limit", "page_size")

    def __init__(self, r: Reader) -> None:
        self.page_size = r.text("pageSize", required=True)
        self.limit = r.number("limit", 0, MAX_UINT64)


class InterfacePriority:
    __slots__ = ("name", "priority")

    def __init__(self, r: Reader) -> None:
        self.name = r.text("name", required=True)
        self.priority = r.number("priority", 0, MAX_UINT32)


class Network:
    __slots__ = ("class_id", "priorities")

    def __init__(self, r: Reader) -> None:
        self.class_id = r.optional_number("classID", 0, MAX_UINT32)
        self.priorities = r.children("priorities", InterfacePriority)


class Rdma:
    __slots__ = ("hca_handles", "hca_objects")

    def __init__(self, r: Reader) -> None:
        self.hca_handles = r.optional_number("hcaHandles", 0, MAX_UINT32)
        self.hca_objects = r.optional_number("hcaObjects", 0, MAX_UINT32)


class Resources:
    __slots__ = ("block_io", "cpu", "devices", "hugepage_limits", "memory", "network", "pids_limit", "rdma", "unified")

    def __init__(self, r: Reader) -> None:
        self.devices = r.children("devices", DeviceRule)
        self.memory = r.child("memory", Memory)
        self.cpu = r.child("cpu", Cpu)
        self.pids_limit = r.child("pids", lambda p: p.optional_number("limit"))
        self.block_io = r.child("blockIO", BlockIo)
        self.hugepage_limits = r.children("hugepageLimits", HugepageLimit)
        self.network = r.child("network", Network)
        self.rdma = r.child_map("rdma", Rdma)
        self.unified = r.text_map("unified")


def read_resources(document: Any) -> Resources:
    """A decoded LinuxResources object, as `update --resources` reads it. Raises RuntimeDocumentError."""
    return Resources(Reader(document, "resources:"))
