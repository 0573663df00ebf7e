"""The parts of config.json that only Linux has: devices, resources, seccomp. OCI runtime-spec 1.2, config-linux.md."""

from __future__ import annotations

from groundplane.oci.runtime_reader import MAX_UINT32, MAX_UINT64, Reader


class IdMapping:
    """`size` ids from `container_id` on are the host's from `host_id` on. user_namespaces(7)."""

    __slots__ = ("container_id", "host_id", "size")

    def __init__(self, r: Reader) -> None:
        self.container_id = r.number("containerID", 0, MAX_UINT32)
        self.host_id = r.number("hostID", 0, MAX_UINT32)
        self.size = r.number("size", 0, MAX_UINT32)


class Device:
    """A node to make in the container."""

    __slots__ = ("file_mode", "gid", "major", "minor", "path", "type", "uid")

    def __init__(self, r: Reader) -> None:
        self.type = r.text("type", required=True)
        if self.type not in ("c", "u", "b", "p"):
            raise r.error("type", f"{self.type!r} is no device type; known are c, u, b and p")
        self.path = r.text("path", required=True)
        self.major = r.number("major", 0)
        self.minor = r.number("minor", 0)
        self.file_mode = r.optional_number("fileMode", 0, 0o7777)
        self.uid = r.number("uid", 0, MAX_UINT32)
        self.gid = r.number("gid", 0, MAX_UINT32)


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
    __slots__ = ("disable_oom_killer", "limit", "reservation", "swap", "swappiness")

    def __init__(self, r: Reader) -> None:
        self.limit = r.optional_number("limit", -1)
        self.reservation = r.optional_number("reservation", -1)
        self.swap = r.optional_number("swap", -1)
        self.swappiness = r.optional_number("swappiness", 0, MAX_UINT64)
        self.disable_oom_killer = r.optional_flag("disableOOMKiller")


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


class Throttle:
    __slots__ = ("major", "minor", "rate")

    def __init__(self, r: Reader) -> None:
        self.major = r.number("major")
        self.minor = r.number("minor")
        self.rate = r.number("rate", 0, MAX_UINT64)


class BlockIo:
    __slots__ = ("leaf_weight", "read_bps", "read_iops", "weight", "write_bps", "write_iops")

    def __init__(self, r: Reader) -> None:
        self.weight = r.optional_number("weight", 0, 65535)
        self.leaf_weight = r.optional_number("leafWeight", 0, 65535)
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
        self.rdma = r.has("rdma")
        self.unified = r.text_map("unified")


class SeccompArgument:
    __slots__ = ("index", "op", "value", "value_two")

    def __init__(self, r: Reader) -> None:
        self.index = r.number("index", 0, 5)
        self.value = r.number("value", 0, MAX_UINT64)
        self.value_two = r.number("valueTwo", 0, MAX_UINT64)
        self.op = r.text("op", required=True)


class SeccompRule:
    __slots__ = ("action", "args", "errno", "names")

    def __init__(self, r: Reader) -> None:
        self.names = r.texts("names")
        self.action = r.text("action", required=True)
        self.errno = r.optional_number("errnoRet", 0, MAX_UINT32)
        self.args = r.children("args", SeccompArgument)


class Seccomp:
    __slots__ = (
        "architectures",
        "default_action",
        "default_errno",
        "flags",
        "listener_metadata",
        "listener_path",
        "syscalls",
    )

    def __init__(self, r: Reader) -> None:
        self.default_action = r.text("defaultAction", required=True)
        self.default_errno = r.optional_number("defaultErrnoRet", 0, MAX_UINT32)
        self.architectures = r.texts("architectures")
        self.flags = r.texts("flags")
        self.listener_path = r.text("listenerPath")
        self.listener_metadata = r.text("listenerMetadata")
        self.syscalls = r.children("syscalls", SeccompRule)
