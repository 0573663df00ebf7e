"""Device nodes of the host in a container: those that were asked for, or all of them for a privileged one."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundplane.engine.contract import BadParameter

# Directories and files of /dev that every container has of its own (runc, libcontainer/devices).
_OWN = {"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"}


@dataclass(frozen=True, slots=True)
class Device:
    """One node: OCI's `linux.devices` entry, and the cgroup rule that lets it be opened."""

    node: dict[str, Any]
    rule: dict[str, Any]


def passed_devices(wanted: Sequence[str]) -> list[Device]:
    """Of `path[:path_in_container[:rwm]]`; a directory stands for all devices below it. Raises BadParameter."""
    found: list[Device] = []
    for text in wanted:
        source, _, rest = text.partition(":")
        inside, _, access = rest.partition(":")
        if inside and not inside.startswith("/") and not access:
            inside, access = "", inside  # docker's short form: path:rwm
        if set(access) - set("rwm"):
            raise BadParameter(f"invalid device mode: {access}")
        found += _devices(os.path.realpath(source), inside or source, access or "rwm", text)
    return found


def host_devices() -> list[Device]:
    """Every device below /dev."""
    return _walk("/dev", "/dev", "rwm")


def _devices(source: str, inside: str, access: str, asked: str) -> list[Device]:
    try:
        info = os.stat(source)
    except OSError as error:
        reason = f'error gathering device information while adding custom device "{asked.partition(":")[0]}"'
        raise BadParameter(f"{reason}: {(error.strerror or str(error)).lower()}") from error
    if stat.S_ISDIR(info.st_mode):
        return _walk(source, inside, access)
    if (device := _device(info, inside, access)) is None:
        raise BadParameter(
            f'error gathering device information while adding custom device "{source}": not a device node'
        )
    return [device]


def _walk(directory: str, inside: str, access: str) -> list[Device]:
    found: list[Device] = []
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if (directory == "/dev" and entry.name in _OWN) or entry.is_symlink():
                continue
            if entry.is_dir():
                found += _walk(entry.path, f"{inside}/{entry.name}", access)
            elif device := _device(entry.stat(), f"{inside}/{entry.name}", access):
                found.append(device)
    return found


def _device(info: os.stat_result, inside: str, access: str) -> Device | None:
    if not (stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)):
        return None
    kind = "c" if stat.S_ISCHR(info.st_mode) else "b"
    numbers = {"type": kind, "major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev)}
    mode = stat.S_IMODE(info.st_mode)
    node = {"path": inside, **numbers, "fileMode": mode, "uid": info.st_uid, "gid": info.st_gid}
    return Device(node, {"allow": True, **numbers, "access": access})
