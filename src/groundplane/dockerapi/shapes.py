"""The engine's values as Docker's documents: a container in listings and in inspect, an image in both.

What Docker has and the engine has not is given as Docker gives it where it is unused (empty strings, null), because
clients of typed languages read these documents into structures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.base.clock import Clock
from groundplane.dockerapi.stamps import human_duration, time_text
from groundplane.engine.contract import ContainerInfo, ImageInfo, Mount, Resources, State


def status_text(info: ContainerInfo, clock: Clock) -> str:
    """`Up 5 minutes`, `Exited (0) 3 seconds ago`, `Created` (container.State.String)."""
    if info.state is State.RUNNING:
        return f"Up {human_duration(clock.time() - info.started_at / 1e9)}"
    if info.state is State.CREATED:
        return "Created"
    return f"Exited ({exit_code(info)}) {human_duration(clock.time() - info.finished_at / 1e9)} ago"


def exit_code(info: ContainerInfo) -> int:
    """Docker has no word for an unknown code; 255 is what it gives where it lost a container."""
    if info.state is not State.EXITED:
        return 0
    return 255 if info.exit_code is None else info.exit_code


def network_mode(info: ContainerInfo) -> str:
    return info.spec.network


def list_entry(info: ContainerInfo, image: str, clock: Clock) -> dict[str, Any]:
    """One element of `GET /containers/json`."""
    return {
        "Id": info.id,
        "Names": [f"/{info.spec.name}"],
        "Image": image,
        "ImageID": info.image_id,
        "Command": _command_line(info.argv),
        "Created": info.created_at // 1_000_000_000,
        "Ports": [],
        "Labels": dict(info.spec.labels),
        "State": info.state.value,
        "Status": status_text(info, clock),
        "HostConfig": {"NetworkMode": network_mode(info)},
        "NetworkSettings": {"Networks": _networks(info)},
        "Mounts": [_mount(mount) for mount in info.spec.mounts],
    }


def _command_line(argv: Sequence[str]) -> str:
    """Docker quotes an argument that has a blank in it."""
    return " ".join([*argv[:1], *(f"'{a}'" if " " in a else a for a in argv[1:])])


def inspect_container(info: ContainerInfo, image: ImageInfo | None) -> dict[str, Any]:
    """`GET /containers/{id}/json`."""
    asked = info.spec.docker
    return {
        "Id": info.id,
        "Created": time_text(info.created_at),
        "Path": info.argv[0] if info.argv else "",
        "Args": list(info.argv[1:]),
        "State": _state(info),
        "Image": info.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": info.log_path,
        "Name": f"/{info.spec.name}",
        "RestartCount": info.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(info, asked.get("HostConfig") or {}),
        "GraphDriver": {"Data": {"MergedDir": info.rootfs}, "Name": "overlay2"},
        "Mounts": [_mount(mount) for mount in info.spec.mounts],
        "Config": _config(info, asked, image),
        "NetworkSettings": {"Bridge": "", "SandboxID": "", "Ports": {}, "Networks": _networks(info)},
    }


def _state(info: ContainerInfo) -> dict[str, Any]:
    running = info.state is State.RUNNING
    return {
        "Status": info.state.value,
        "Running": running,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": info.oom_killed,
        "Dead": False,
        "Pid": info.pid if running else 0,
        "ExitCode": exit_code(info),
        "Error": info.error,
        "StartedAt": time_text(info.started_at),
        "FinishedAt": time_text(info.finished_at),
    }


def _host_config(info: ContainerInfo, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the client asked for, and the values that hold where it asked for nothing."""
    spec = info.spec
    defaults = {
        "Binds": None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": network_mode(info),
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": spec.auto_remove,
        "CapAdd": list(spec.security.cap_add) or None,
        "CapDrop": list(spec.security.cap_drop) or None,
        "IpcMode": spec.ipc_mode,
        "PidMode": "" if spec.pid_mode == "private" else spec.pid_mode,
        "Privileged": spec.security.privileged,
        "ReadonlyRootfs": spec.security.read_only_root,
        "SecurityOpt": None,
        "ShmSize": spec.shm_size,
        "Runtime": "ground-runtime",
        "NanoCpus": 0,
        "CpuPeriod": spec.resources.cpu_period,
        "CpuQuota": spec.resources.cpu_quota,
        "Ulimits": [{"Name": n, "Soft": soft, "Hard": hard} for n, (soft, hard) in spec.ulimits.items()] or None,
    }
    held = {
        "NetworkMode": network_mode(info),
        "ShmSize": spec.shm_size,
        "IpcMode": spec.ipc_mode,
        "CpuShares": spec.resources.cpu_shares,  # and what an update may have changed
        "Memory": spec.resources.memory,
        "CpusetCpus": spec.resources.cpuset_cpus,
        "PidsLimit": spec.resources.pids or None,
        **_cpu_time(spec.resources, asked),
    }
    return {**defaults, **asked, **held}


def _cpu_time(limits: Resources, asked: Mapping[str, Any]) -> dict[str, int]:
    """In the words of the request: CPUs (`--cpus`), or quota and period."""
    if asked.get("NanoCpus") and limits.cpu_period:
        return {"NanoCpus": limits.cpu_quota * 1_000_000_000 // limits.cpu_period}
    return {"CpuPeriod": limits.cpu_period, "CpuQuota": limits.cpu_quota}


def _config(info: ContainerInfo, asked: Mapping[str, Any], image: ImageInfo | None) -> dict[str, Any]:
    spec = info.spec
    base: Mapping[str, Any] = (image.config.get("config") or {}) if image else {}
    entrypoint = list(spec.entrypoint) if spec.entrypoint is not None else base.get("Entrypoint")
    command = list(spec.args) if spec.args is not None else (base.get("Cmd") if spec.entrypoint is None else None)
    env = {**dict(item.partition("=")[::2] for item in base.get("Env") or ()), **spec.env}
    return {
        "Hostname": spec.hostname or info.id[:12],
        "Domainname": "",
        "User": spec.security.user or base.get("User", ""),
        "AttachStdin": bool(asked.get("AttachStdin")),
        "AttachStdout": bool(asked.get("AttachStdout")),
        "AttachStderr": bool(asked.get("AttachStderr")),
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": bool(asked.get("StdinOnce")),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Cmd": command,
        "Image": asked.get("Image") or spec.image,
        "Volumes": base.get("Volumes"),
        "WorkingDir": spec.working_dir or base.get("WorkingDir", ""),
        "Entrypoint": entrypoint,
        "OnBuild": None,
        "Labels": {**(base.get("Labels") or {}), **spec.labels},
        "StopSignal": spec.stop_signal or base.get("StopSignal", "") or "SIGTERM",
        "StopTimeout": spec.stop_timeout,
        "ExposedPorts": base.get("ExposedPorts") or {},
    }


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind" if mount.type == "bind" else mount.type,
        "Source": mount.source,
        "Destination": mount.destination,
        "Mode": ",".join(mount.options),
        "RW": not mount.read_only,
        "Propagation": mount.propagation if mount.type == "bind" else "",
    }


def _networks(info: ContainerInfo) -> dict[str, Any]:
    empty = dict.fromkeys(("NetworkID", "EndpointID", "Gateway", "IPAddress", "MacAddress", "IPv6Gateway"), "")
    return {network_mode(info): {**empty, "IPAMConfig": None, "Links": None, "Aliases": None, "IPPrefixLen": 0}}


def list_image(info: ImageInfo, containers: int) -> dict[str, Any]:
    """One element of `GET /images/json`."""
    settings = info.config.get("config") or {}
    return {
        "Id": info.id,
        "ParentId": "",
        "RepoTags": list(info.names),
        "RepoDigests": repo_digests(info),
        "Created": info.created_at // 1_000_000_000,
        "Size": info.size,
        "SharedSize": -1,
        "Labels": settings.get("Labels"),
        "Containers": containers,
    }


def repo_digests(info: ImageInfo) -> list[str]:
    repositories = dict.fromkeys(
        name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name for name in info.names
    )
    return [f"{repository}@{info.digest}" for repository in repositories]


def inspect_image(info: ImageInfo) -> dict[str, Any]:
    """`GET /images/{name}/json`."""
    document = info.config
    return {
        "Id": info.id,
        "RepoTags": list(info.names),
        "RepoDigests": repo_digests(info),
        "Parent": "",
        "Comment": "",
        "Created": document.get("created") or "",
        "DockerVersion": "",
        "Author": document.get("author", ""),
        "Config": document.get("config") or {},
        "Architecture": document.get("architecture", ""),
        "Variant": document.get("variant", ""),
        "Os": document.get("os", ""),
        "Size": info.size,
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": (document.get("rootfs") or {}).get("diff_ids") or []},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }
