"""Docker's defaults for a container, as data: capabilities, paths, mounts, devices."""

from __future__ import annotations

from typing import Any

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mounts(shm_size: int, *, privileged: bool) -> list[dict[str, Any]]:
    """The file systems that every container has, in order; privileged ones may write /sys and the cgroups."""
    mode = "rw" if privileged else "ro"
    rows = (
        ("/proc", "proc", "proc", "nosuid noexec nodev"),
        ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        ("/sys", "sysfs", "sysfs", f"nosuid noexec nodev {mode}"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", f"{mode} nosuid noexec nodev"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        ("/dev/shm", "tmpfs", "shm", f"nosuid noexec nodev mode=1777 size={shm_size}"),
    )
    return [{"destination": d, "type": t, "source": s, "options": o.split()} for d, t, s, o in rows]


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


# Nothing, except: make any node (but not open it); null, zero, full, random, urandom, tty, console, ptmx, pts.
DEVICE_RULES: tuple[dict[str, Any], ...] = (
    {"allow": False, "access": "rwm"},
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    *(_allow("c", major, minor, "rwm") for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1))),
    _allow("c", 5, 2, "rwm"),
    _allow("c", 136, None, "rwm"),
)
