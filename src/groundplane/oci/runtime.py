"""config.json and the process object of `exec`: OCI runtime-spec 1.2, config.md and config-linux.md.

Each type is read by its constructor from a `Reader` and never changed afterwards; absent parts are None, empty or 0.
Types and ranges are checked here; what makes sense together is the runtime's to decide (`runtime/validate.py`).
Plain classes and no dataclasses, because these modules are on the runtime's cold path (5 ms of import).
"""

from __future__ import annotations

from groundplane.oci.runtime_linux import Device, IdMapping, Seccomp
from groundplane.oci.runtime_reader import MAX_UINT32, MAX_UINT64, Reader, RuntimeDocumentError
from groundplane.oci.runtime_resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.2.0"


class Root:
    __slots__ = ("path", "readonly")

    def __init__(self, r: Reader) -> None:
        self.path = r.text("path", required=True)
        self.readonly = r.flag("readonly")


class User:
    __slots__ = ("additional_gids", "gid", "uid", "umask")

    def __init__(self, r: Reader | None) -> None:
        r = r or Reader({}, "user")
        self.uid = r.number("uid", 0, MAX_UINT32)
        self.gid = r.number("gid", 0, MAX_UINT32)
        self.umask = r.optional_number("umask", 0, 0o777)
        self.additional_gids = r.numbers("additionalGids", 0, MAX_UINT32)


class Capabilities:
    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(self, r: Reader) -> None:
        self.bounding = r.texts("bounding")
        self.effective = r.texts("effective")
        self.inheritable = r.texts("inheritable")
        self.permitted = r.texts("permitted")
        self.ambient = r.texts("ambient")


class Rlimit:
    __slots__ = ("hard", "soft", "type")

    def __init__(self, r: Reader) -> None:
        self.type = r.text("type", required=True)
        self.soft = r.number("soft", 0, MAX_UINT64)
        self.hard = r.number("hard", 0, MAX_UINT64)


class Scheduler:
    __slots__ = ("deadline", "flags", "nice", "period", "policy", "priority", "runtime")

    def __init__(self, r: Reader) -> None:
        self.policy = r.text("policy", required=True)
        self.nice = r.number("nice", -20, 19)
        self.priority = r.number("priority", 0, 99)
        self.flags = r.texts("flags")
        self.runtime = r.number("runtime", 0, MAX_UINT64)
        self.deadline = r.number("deadline", 0, MAX_UINT64)
        self.period = r.number("period", 0, MAX_UINT64)


class IoPriority:
    __slots__ = ("io_class", "priority")

    def __init__(self, r: Reader) -> None:
        self.io_class = r.text("class", required=True)
        self.priority = r.number("priority", 0, 7)


class CpuAffinity:
    """Which CPUs a process of `exec` runs on: before it enters the container's cgroup, and from then on."""

    __slots__ = ("final", "initial")

    def __init__(self, r: Reader) -> None:
        self.initial = _cpus(r, "initial")
        self.final = _cpus(r, "final")


def _cpus(r: Reader, name: str) -> tuple[int, ...]:
    """A list as taskset(1) takes it: `0-3,7`."""
    found: set[int] = set()
    text = r.text(name)
    for part in text.split(",") if text else ():
        first, dash, last = part.strip().partition("-")
        low, high = first.strip(), (last if dash else first).strip()
        if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high) < _MOST_CPUS):
            raise r.error(name, f"{text!r} is no list of CPUs (0-3,7)")
        found.update(range(int(low), int(high) + 1))
    return tuple(sorted(found))


_MOST_CPUS = 8192  # CONFIG_NR_CPUS of the largest kernels


class Process:
    """What to execute, and as whom. `exec --process` reads a document of this shape alone."""

    __slots__ = (
        "apparmor_profile",
        "args",
        "capabilities",
        "console_size",
        "cwd",
        "env",
        "exec_cpu_affinity",
        "io_priority",
        "no_new_privileges",
        "oom_score_adj",
        "rlimits",
        "scheduler",
        "selinux_label",
        "terminal",
        "user",
    )

    def __init__(self, r: Reader) -> None:
        self.terminal = r.flag("terminal")
        self.console_size = r.child(
            "consoleSize", lambda c: (c.number("height", 0, 65535), c.number("width", 0, 65535))
        )
        self.user = r.child("user", User) or User(None)
        self.args = r.texts("args")
        self.env = r.texts("env")
        self.cwd = r.text("cwd")
        self.capabilities = r.child("capabilities", Capabilities)
        self.rlimits = r.children("rlimits", Rlimit)
        self.no_new_privileges = r.flag("noNewPrivileges")
        self.apparmor_profile = r.text("apparmorProfile")
        self.selinux_label = r.text("selinuxLabel")
        self.oom_score_adj = r.optional_number("oomScoreAdj", -1000, 1000)
        self.scheduler = r.child("scheduler", Scheduler)
        self.io_priority = r.child("ioPriority", IoPriority)
        self.exec_cpu_affinity = r.child("execCPUAffinity", CpuAffinity)


class Mount:
    __slots__ = ("destination", "gid_mappings", "options", "source", "type", "uid_mappings")

    def __init__(self, r: Reader) -> None:
        self.destination = r.text("destination", required=True)
        self.type = r.text("type")
        self.source = r.text("source")
        self.options = r.texts("options")
        self.uid_mappings = r.children("uidMappings", IdMapping)
        self.gid_mappings = r.children("gidMappings", IdMapping)


class Hook:
    __slots__ = ("args", "env", "path", "timeout")

    def __init__(self, r: Reader) -> None:
        self.path = r.text("path", required=True)
        if not self.path.startswith("/"):
            raise r.error("path", "an absolute path is expected")
        self.args = r.texts("args")
        self.env = r.texts("env")
        self.timeout = r.optional_number("timeout")
        if self.timeout is not None and self.timeout <= 0:
            raise r.error("timeout", "more than zero seconds are expected")


class Hooks:
    __slots__ = ("create_container", "create_runtime", "poststart", "poststop", "prestart", "start_container")

    def __init__(self, r: Reader | None) -> None:
        r = r or Reader({}, "hooks")
        self.prestart = r.children("prestart", Hook)
        self.create_runtime = r.children("createRuntime", Hook)
        self.create_container = r.children("createContainer", Hook)
        self.start_container = r.children("startContainer", Hook)
        self.poststart = r.children("poststart", Hook)
        self.poststop = r.children("poststop", Hook)


NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")


class Namespace:
    __slots__ = ("path", "type")

    def __init__(self, r: Reader) -> None:
        self.type = r.text("type", required=True)
        if self.type not in NAMESPACES:
            raise r.error("type", f'"{self.type}" is no namespace; known are {", ".join(NAMESPACES)}')
        self.path = r.text("path")
        if self.path and not self.path.startswith("/"):
            raise r.error("path", "an absolute path is expected")


class TimeOffset:
    __slots__ = ("nanosecs", "secs")

    def __init__(self, r: Reader) -> None:
        self.secs = r.number("secs")
        self.nanosecs = r.number("nanosecs", 0, MAX_UINT32)


class Personality:
    __slots__ = ("domain", "flags")

    def __init__(self, r: Reader) -> None:
        self.domain = r.text("domain", required=True)
        self.flags = r.texts("flags")


class NetDevice:
    """A network device of the host's to move into the container (runtime-spec 1.3); empty: it keeps its name."""

    __slots__ = ("name",)

    def __init__(self, r: Reader) -> None:
        self.name = r.text("name")


class Linux:
    __slots__ = (
        "cgroups_path",
        "devices",
        "gid_mappings",
        "intel_rdt",
        "masked_paths",
        "memory_policy",
        "mount_label",
        "namespaces",
        "net_devices",
        "personality",
        "readonly_paths",
        "resources",
        "rootfs_propagation",
        "seccomp",
        "sysctl",
        "time_offsets",
        "uid_mappings",
    )

    def __init__(self, r: Reader | None) -> None:
        r = r or Reader({}, "linux")
        self.uid_mappings = r.children("uidMappings", IdMapping)
        self.gid_mappings = r.children("gidMappings", IdMapping)
        self.namespaces = r.children("namespaces", Namespace)
        self.devices = r.children("devices", Device)
        self.cgroups_path = r.text("cgroupsPath")
        self.resources = r.child("resources", Resources)
        self.rootfs_propagation = r.text("rootfsPropagation")
        self.seccomp = r.child("seccomp", Seccomp)
        self.sysctl = r.text_map("sysctl")
        self.masked_paths = r.texts("maskedPaths")
        self.readonly_paths = r.texts("readonlyPaths")
        self.mount_label = r.text("mountLabel")
        self.personality = r.child("personality", Personality)
        self.time_offsets = r.child_map("timeOffsets", TimeOffset)
        self.intel_rdt = r.has("intelRdt")
        self.net_devices = r.child_map("netDevices", NetDevice)
        self.memory_policy = r.has("memoryPolicy")


class Config:
    """A bundle's config.json."""

    __slots__ = (
        "annotations",
        "domainname",
        "hooks",
        "hostname",
        "linux",
        "mounts",
        "oci_version",
        "process",
        "root",
    )

    def __init__(self, r: Reader) -> None:
        self.oci_version = r.text("ociVersion", required=True)
        self.root = r.child("root", Root)
        self.mounts = r.children("mounts", Mount)
        self.process = r.child("process", Process)
        self.hostname = r.text("hostname")
        self.domainname = r.text("domainname")
        self.hooks = r.child("hooks", Hooks) or Hooks(None)
        self.annotations = r.text_map("annotations")
        self.linux = r.child("linux", Linux) or Linux(None)


def read_config(document: Any) -> Config:
    """A decoded config.json. Raises RuntimeDocumentError naming the member that is wrong."""
    return Config(Reader(document, "config.json:"))


def read_process(document: Any) -> Process:
    """A decoded process document. Raises RuntimeDocumentError."""
    return Process(Reader(document, "process.json:"))


__all__ = ["Config", "Process", "Reader", "RuntimeDocumentError", "read_config", "read_process"]
