"""`spec`: a config.json to start from, in the bundle directory."""

from __future__ import annotations

import json
import os

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def spec(given: Parsed, globals: Globals) -> int:
    path = os.path.join(given.value("bundle", "."), "config.json")
    # As runc: with v1's hierarchies the container's groups are bound, and its document is the same on all such hosts.
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    document = example(rootless=given.switch("rootless"), cgroup_namespace=unified)
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(document, file, indent="\t")
            file.write("\n")
    except FileExistsError:
        raise GroundError("File config.json exists. Remove it first") from None
    except OSError as error:
        raise GroundError(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error
    return 0


def example(*, rootless: bool = False, cgroup_namespace: bool = True) -> dict[str, Any]:
    """A shell in a container with Linux's usual file systems; `rootless` maps our user to its root."""
    namespaces = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if cgroup_namespace else [])]
    document: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ground",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in namespaces],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    if rootless:
        linux = document["linux"]
        linux["namespaces"] = [{"type": kind} for kind in (*namespaces, "user") if kind != "network"]
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.getuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getgid(), "size": 1}]
        del linux["resources"]
        document["mounts"] = [_as_anybody(mount) for mount in document["mounts"]]
    return document


def _as_anybody(mount: dict[str, Any]) -> dict[str, Any]:
    """The mount for who has one id only, and no network namespace of its own, without which sysfs is not mounted."""
    if mount["type"] == "sysfs":
        return {**mount, "type": "none", "source": "/sys", "options": ["rbind", *mount["options"]]}
    if "options" in mount:
        return {**mount, "options": [o for o in mount["options"] if not o.startswith(("uid=", "gid="))]}
    return mount


def _mounts() -> list[dict[str, Any]]:
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ]
