"""What makes sense together in a document whose types are right; the sentences are runc's where it has one."""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.rlimits import RESOURCES
from groundplane.runtime.steps.namespaces import sysctl_name, sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from groundplane.oci.runtime import Config, Process

_PROPAGATIONS = ("", "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")

# runc's limit. The ids above it include 2**32 - 1, which to setresuid(2) means `as it is`: root would stay root.
_LAST_ID = 2**31 - 1

# sysctls that belong to an IPC namespace (ipc_namespaces(7)); fs.mqueue.* and net.* are by prefix.
_IPC_SYSCTLS = {
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
}


class BadConfig(GroundError):
    """The document contradicts itself, or asks for something that this runtime or this host does not offer."""


def validate(config: Config) -> None:
    """Raises BadConfig."""
    if not config.oci_version.startswith("1."):
        raise BadConfig(f'unsupported ociVersion "{config.oci_version}": this runtime follows runtime-spec 1.x')
    if config.root is None:
        raise BadConfig("root must be specified")
    if config.process is not None:  # it may be absent until `start` (config.md, "Process")
        validate_process(config.process)
    kinds = _validate_namespaces(config)
    if "mount" not in kinds and (config.linux.masked_paths or config.linux.readonly_paths):
        raise BadConfig("unable to restrict sys entries without a private MNT namespace")
    if (config.hostname or config.domainname) and "uts" not in kinds:
        what = "hostname" if config.hostname else "domainname"
        raise BadConfig(f"unable to set {what} without a private UTS namespace")
    _validate_sysctls(config, kinds)
    linux = config.linux
    if linux.rootfs_propagation not in _PROPAGATIONS:
        raise BadConfig(f"rootfsPropagation={linux.rootfs_propagation} is not supported")
    if linux.intel_rdt:
        raise BadConfig("intelRdt is specified in config, but Intel RDT is not supported by this runtime")
    if linux.personality and linux.personality.domain not in ("LINUX", "LINUX32"):
        raise BadConfig(f"invalid personality domain {linux.personality.domain}")
    if linux.personality and linux.personality.flags:
        raise BadConfig("linux.personality.flags: there are none that a runtime supports")
    _validate_net_devices(config)
    if linux.memory_policy:
        raise BadConfig("linux.memoryPolicy is specified in config, but is not supported by this runtime")
    for path in (*linux.masked_paths, *linux.readonly_paths):
        if not path.startswith("/"):
            raise BadConfig(f"{path}: masked and read-only paths must be absolute")
    if linux.mount_label and not _has_selinux():
        raise BadConfig("selinux label is specified in config, but selinux is disabled or not supported")


def validate_process(process: Process) -> None:
    """Raises BadConfig."""
    if not process.args:
        raise BadConfig("args must not be empty")
    if not process.cwd:
        raise BadConfig("Cwd property must not be empty")
    if not process.cwd.startswith("/"):
        raise BadConfig("Cwd must be an absolute path")
    seen = set()
    for limit in process.rlimits:
        if limit.type not in RESOURCES:
            raise BadConfig(f"invalid rlimit type: {limit.type}")
        if limit.type in seen:
            raise BadConfig(f"rlimit {limit.type} is given twice")
        seen.add(limit.type)
    user = process.user
    if max(user.uid, user.gid, *user.additional_gids) > _LAST_ID:
        raise BadConfig(f"unable to setup user: uids and gids must be in range 0-{_LAST_ID}")
    if process.selinux_label and not _has_selinux():
        raise BadConfig("selinux label is specified in config, but selinux is disabled or not supported")
    if process.apparmor_profile and not os.path.isdir("/sys/kernel/security/apparmor"):
        raise BadConfig("apparmor: config provided but apparmor not supported")


def _validate_net_devices(config: Config) -> None:
    """runc's sentences (1.3); a device's name is that of a directory below /sys/class/net."""
    devices = config.linux.net_devices
    own = any(n.type == "network" and _is_another(n.path, "net") for n in config.linux.namespaces)
    if devices and not own:
        raise BadConfig("unable to move network devices without a private NET namespace")
    for name in (name for host, device in devices.items() for name in (host, device.name or host)):
        if name in (".", "..") or not 0 < len(name) < 16 or any(c in "/:%" or c.isspace() for c in name):
            raise BadConfig(f"invalid network device name {name!r}")


def _is_another(path: str, kind: str) -> bool:
    """Whether a namespace, new or by path, is not our own."""
    return not (path and os.path.samefile(path, f"/proc/self/ns/{kind}"))


def _has_selinux() -> bool:
    return os.path.isdir("/sys/fs/selinux")  # the kernel makes this mount point where SELinux is in force


def _validate_namespaces(config: Config) -> set[str]:
    """The kinds of namespaces that are the container's own or joined."""
    linux = config.linux
    kinds: set[str] = set()
    created: set[str] = set()
    for namespace in linux.namespaces:
        if namespace.type in kinds:
            raise BadConfig(f'malformed spec file: duplicated ns "{namespace.type}"')
        kinds.add(namespace.type)
        if not namespace.path:
            created.add(namespace.type)
        elif not os.path.exists(namespace.path):
            raise BadConfig(f"lstat {namespace.path}: no such file or directory")
    for what, mappings in (("uid", linux.uid_mappings), ("gid", linux.gid_mappings)):
        if "user" in created and not mappings:
            raise BadConfig(f"User namespaces enabled, but no {what} mappings found.")
    if (linux.uid_mappings or linux.gid_mappings) and "user" not in kinds:
        raise BadConfig("User namespace mappings specified, but user namespace isn't enabled in the config")
    if linux.time_offsets and "time" not in created:
        raise BadConfig("time namespace offsets specified, but time namespace isn't enabled in the config")
    if unknown := sorted(set(linux.time_offsets) - {"boottime", "monotonic"}):
        raise BadConfig(f"linux.timeOffsets: only boottime and monotonic have offsets, not {unknown[0]}")
    return kinds


def _validate_sysctls(config: Config, kinds: set[str]) -> None:
    if not config.linux.sysctl:
        return
    network = next((n for n in config.linux.namespaces if n.type == "network"), None)
    apart = kinds if network is not None and _is_another(network.path, "net") else kinds - {"network"}
    for key in config.linux.sysctl:
        check_sysctl(key, apart)


def check_sysctl(key: str, kinds: Collection[str]) -> None:
    """Only what a namespace of one's own holds may be written; the rest would change the host. Raises BadConfig."""
    if not {"", ".", ".."}.isdisjoint(sysctl_path(key).split("/")):
        raise BadConfig(f'sysctl "{key}" is no name: it would lead elsewhere')
    name = sysctl_name(key)
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        if "ipc" not in kinds:
            raise BadConfig(f'sysctl "{key}" is not allowed in the hosts ipc namespace')
    elif name.startswith("net."):
        if "network" not in kinds:
            raise BadConfig(f'sysctl "{key}" not allowed in host network namespace')
    elif name == "kernel.hostname":
        raise BadConfig(f'sysctl "{key}" is not allowed as it conflicts with the OCI "hostname" field')
    elif name != "kernel.domainname" or "uts" not in kinds:
        raise BadConfig(f'sysctl "{key}" is not in a separate kernel namespace')
