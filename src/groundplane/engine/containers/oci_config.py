"""From a container's specification and its image to OCI's `config.json`: a pure function, except for device nodes.

Docker's rules: which of entrypoint and command replaces which, whose environment wins, what a privileged container
gets, what a user who is not root keeps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundplane.engine.containers import defaults
from groundplane.engine.containers.devices import host_devices, passed_devices
from groundplane.engine.containers.seccomp import linux_seccomp
from groundplane.engine.containers.users import Who
from groundplane.engine.contract import BadParameter, ContainerSpec, Mount, Resources
from groundplane.kernel import caps

# getrlimit(2), by docker's names for them.
_RLIMIT_NAMES = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
RLIMITS = {name: f"RLIMIT_{name.upper()}" for name in _RLIMIT_NAMES.split(" ")}
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")


@dataclass(frozen=True, slots=True)
class Place:
    """What only the engine knows of a container: where its parts lie on this host."""

    id: str
    hostname: str
    root: str  # the mounted root file system
    cgroup: str
    namespaces: Mapping[str, str]  # OCI type → path, empty: a new one; absent: the host's
    shm: str = ""  # a directory of this host to share as /dev/shm; empty: one of its own
    generated: Sequence[Mount] = ()  # /etc/hosts and its like, where the specification has no mount there


def command(spec: ContainerSpec, image: Mapping[str, Any]) -> list[str]:
    """The resolved command line. Raises BadParameter where there is none."""
    entrypoint = list(image.get("Entrypoint") or ()) if spec.entrypoint is None else list(spec.entrypoint)
    if spec.args is not None and (spec.args or spec.entrypoint is not None):
        arguments = list(spec.args)
    else:
        arguments = list(image.get("Cmd") or ()) if spec.entrypoint is None else []
    if not (argv := entrypoint + arguments):
        raise BadParameter("no command specified")
    return argv


def environment(spec: ContainerSpec, image: Mapping[str, Any], hostname: str, home: str) -> list[str]:
    """PATH, HOSTNAME (and TERM), then the image's, then the specification's: the later one of a name wins."""
    values = {"PATH": defaults.PATH, "HOSTNAME": hostname}
    if spec.tty:
        values["TERM"] = "xterm"
    for item in image.get("Env") or ():
        name, _, value = item.partition("=")
        values[name] = value
    values.update(spec.env)
    values.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in values.items()]


def capabilities(spec: ContainerSpec) -> list[str]:
    """Docker's default set, plus and minus what was asked for; `ALL` is what this engine itself has."""
    security = spec.security
    held = caps.names(caps.current()["CapBnd"])
    if security.privileged:
        return held
    add = [_capability(name) for name in security.cap_add]
    drop = [_capability(name) for name in security.cap_drop]
    if unknown := caps.unknown(name for name in (*add, *drop) if name != "CAP_ALL"):
        raise BadParameter(f'invalid capability: "{unknown[0]}"')
    # As docker: drop ALL empties the default set, what is added by name stays; add ALL fills it, less what is dropped.
    chosen = set() if "CAP_ALL" in drop else set(defaults.CAPABILITIES)
    if "CAP_ALL" in add:
        chosen = set(held)
    chosen = (chosen - set(drop)) | {name for name in add if name != "CAP_ALL"}
    return [name for name in caps.NAMES if name in chosen]


def _capability(name: str) -> str:
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"


def process(spec: ContainerSpec, image: Mapping[str, Any], who: Who, hostname: str) -> dict[str, Any]:
    """OCI's `process` of the container's init; an exec starts from the same."""
    names = capabilities(spec)
    sets: dict[str, Any] = {"bounding": names}
    if who.uid == 0:  # as execve(2) would do it: a user who is not root keeps none
        sets |= {"effective": names, "permitted": names}
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise BadParameter(f"the working directory '{spec.working_dir}' is invalid, it needs to be an absolute path")
    document: dict[str, Any] = {
        "terminal": spec.tty,
        "user": {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)},
        "args": command(spec, image),
        "env": environment(spec, image, hostname, who.home),
        "cwd": spec.working_dir or image.get("WorkingDir") or "/",
        "capabilities": sets,
        "noNewPrivileges": spec.security.no_new_privileges,
        "rlimits": [_rlimit(name, *limits) for name, limits in spec.ulimits.items()],
    }
    if spec.resources.oom_score_adj is not None:
        document["oomScoreAdj"] = spec.resources.oom_score_adj
    return document


def _rlimit(name: str, soft: int, hard: int) -> dict[str, Any]:
    if name not in RLIMITS:
        raise BadParameter(f"invalid ulimit type: {name}")
    if soft > hard >= 0:
        raise BadParameter(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    unlimited = 2**64 - 1  # RLIM_INFINITY, which docker writes as -1
    return {
        "type": RLIMITS[name],
        "soft": unlimited if soft < 0 else soft,
        "hard": unlimited if hard < 0 else hard,
    }


def build(spec: ContainerSpec, image: Mapping[str, Any], who: Who, place: Place) -> dict[str, Any]:
    """The whole document. `image` is the image configuration's `config`. Raises BadParameter."""
    if spec.init:
        raise BadParameter("an init process in the container (--init) is not offered yet; use an image that brings one")
    privileged = spec.security.privileged
    document = process(spec, image, who, place.hostname)
    linux: dict[str, Any] = {
        "cgroupsPath": f"/{place.cgroup}",
        "namespaces": [{"type": t, "path": p} if p else {"type": t} for t, p in place.namespaces.items()],
        "resources": resources(spec.resources),
        "sysctl": dict(spec.sysctls),
        "maskedPaths": _paths(spec.security.masked_paths, defaults.MASKED_PATHS, privileged=privileged),
        "readonlyPaths": _paths(spec.security.read_only_paths, defaults.READ_ONLY_PATHS, privileged=privileged),
    }
    devices = host_devices() if privileged else passed_devices(spec.devices)
    linux["devices"] = [device.node for device in devices]
    if privileged:
        linux["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    else:
        linux["resources"]["devices"] = [*defaults.DEVICE_RULES, *(device.rule for device in devices)]
    names = document["capabilities"]["bounding"]
    if (filter := linux_seccomp(spec.security.seccomp, names, privileged=privileged)) is not None:
        linux["seccomp"] = filter
    config: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": document,
        "root": {"path": place.root, "readonly": spec.security.read_only_root},
        "mounts": _mounts(spec, place),
        "linux": linux,
        "annotations": dict(spec.annotations),
    }
    if place.namespaces.get("uts") == "":
        config["hostname"] = place.hostname
    return config


def resources(wanted: Resources) -> dict[str, Any]:
    """OCI's `linux.resources` without device rules; what is 0 is left out."""
    cpu = {
        "shares": wanted.cpu_shares,
        "quota": wanted.cpu_quota,
        "period": wanted.cpu_period,
        "cpus": wanted.cpuset_cpus,
    }
    document: dict[str, Any] = {}
    if cpu := {name: value for name, value in cpu.items() if value}:
        document["cpu"] = cpu
    if wanted.memory:
        document["memory"] = {"limit": wanted.memory}
    if wanted.pids:
        document["pids"] = {"limit": wanted.pids}
    return document


def _paths(asked: Sequence[str] | None, usual: Sequence[str], *, privileged: bool) -> list[str]:
    if asked is not None:
        return list(asked)
    return [] if privileged else list(usual)


def _mounts(spec: ContainerSpec, place: Place) -> list[dict[str, Any]]:
    """The usual ones, less those that the specification has its own for, then the others, parents before children."""
    wanted = {os.path.normpath(mount.destination): mount for mount in spec.mounts}
    usual = defaults.mounts(spec.shm_size, privileged=spec.security.privileged)
    for entry in usual:
        if place.shm and entry["destination"] == "/dev/shm":
            entry |= {"type": "bind", "source": place.shm, "options": ["rbind", "nosuid", "noexec", "nodev"]}
    result = [entry for entry in usual if entry["destination"] not in wanted]
    further = [m for m in place.generated if m.destination not in wanted] + list(wanted.values())
    further.sort(key=lambda mount: os.path.normpath(mount.destination).count("/"))
    return result + [_mount(mount) for mount in further]


def _mount(mount: Mount) -> dict[str, Any]:
    if not mount.destination.startswith("/"):
        raise BadParameter(f"invalid mount path: '{mount.destination}' mount path must be absolute")
    options = list(mount.options)
    if mount.type == "bind":
        if not mount.source.startswith("/"):
            raise BadParameter(f"invalid mount source: '{mount.source}' must be an absolute path of this host")
        if mount.propagation not in _PROPAGATIONS:
            raise BadParameter(f"invalid propagation mode: {mount.propagation}")
        if not {"bind", "rbind"} & set(options):
            options.append("rbind")
        options.append(mount.propagation)
    if mount.read_only:
        options.append("ro")
    return {
        "destination": mount.destination,
        "type": mount.type,
        "source": mount.source or mount.type,
        "options": options,
    }
