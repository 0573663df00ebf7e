"""The parts of config.json that only Linux has: devices, mappings, seccomp. OCI runtime-spec 1.2, config-linux.md."""

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
        self.file_mode = r.optional_number("fileMode", 0, MAX_UINT32)  # Docker's has the type's bits too
        self.uid = r.number("uid", 0, MAX_UINT32)
        self.gid = r.number("gid", 0, MAX_UINT32)


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
        self.flags = r.texts("flags") if r.has("flags") else None  # none named is not the same as no word of them
        self.listener_path = r.text("listenerPath")
        self.listener_metadata = r.text("listenerMetadata")
        self.syscalls = r.children("syscalls", SeccompRule)
