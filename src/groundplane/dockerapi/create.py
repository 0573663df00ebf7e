"""Docker's create request as the engine's `ContainerSpec`: what is offered is translated, what is not is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from groundplane.dockerapi.errors import NotOffered
from groundplane.engine.contract import BadParameter, ContainerSpec, Mount, Resources, Security

# Members of HostConfig that would be passed over in silence; -1 is docker's word for the default of some.
_NOT_YET = {
    "VolumesFrom": "--volumes-from",
    "VolumeDriver": "--volume-driver",
    "Links": "--link",
    "ExtraHosts": "--add-host",
    "Dns": "--dns",
    "DnsSearch": "--dns-search",
    "DnsOptions": "--dns-option",
    "DeviceRequests": "--gpus",
    "DeviceCgroupRules": "--device-cgroup-rule",
    "MemorySwap": "--memory-swap",
    "MemorySwappiness": "--memory-swappiness",
    "MemoryReservation": "--memory-reservation",
    "OomKillDisable": "--oom-kill-disable",
    "CpusetMems": "--cpuset-mems",
    "CpuRealtimePeriod": "--cpu-rt-period",
    "CpuRealtimeRuntime": "--cpu-rt-runtime",
    "BlkioWeight": "--blkio-weight",
    "BlkioWeightDevice": "--blkio-weight-device",
    "BlkioDeviceReadBps": "--device-read-bps",
    "BlkioDeviceWriteBps": "--device-write-bps",
    "BlkioDeviceReadIOps": "--device-read-iops",
    "BlkioDeviceWriteIOps": "--device-write-iops",
    "CgroupParent": "--cgroup-parent",
    "StorageOpt": "--storage-opt",
    "UTSMode": "--uts",
}
_NO_BRIDGE = "bridge networks are not offered yet: use `--network host` or `--network none`"
_T = TypeVar("_T")
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def container_spec(name: str, body: Mapping[str, Any]) -> ContainerSpec:
    """Raises BadParameter, NotOffered."""
    read = Reader(body)
    host = Reader(read.mapping("HostConfig"))
    _refuse(read, host)
    entrypoint, command = _words(body, "Entrypoint"), _words(body, "Cmd")
    return ContainerSpec(
        image=read.text("Image"),
        name=name.removeprefix("/"),
        # An empty entrypoint, [""], takes the image's away (docker run --entrypoint "")
        entrypoint=[] if entrypoint == [""] else entrypoint or None,
        args=command or None,
        env=_env(read.texts("Env")),
        working_dir=read.text("WorkingDir"),
        labels=read.strings("Labels"),
        mounts=[*_binds(host.texts("Binds")), *_mounts(host.list("Mounts")), *_tmpfs(host.strings("Tmpfs"))],
        resources=resources(host),
        security=_security(read, host),
        hostname=read.text("Hostname"),
        network=_network(host.text("NetworkMode")),
        pid_mode=_namespace(host.text("PidMode"), "PidMode"),
        ipc_mode=_namespace(host.text("IpcMode"), "IpcMode"),
        tty=read.flag("Tty"),
        stdin_open=read.flag("OpenStdin"),
        stop_signal=read.text("StopSignal"),
        stop_timeout=read.number("StopTimeout", 10),
        auto_remove=host.flag("AutoRemove"),
        sysctls=host.strings("Sysctls"),
        ulimits=_ulimits(host.list("Ulimits")),
        devices=_devices(host.list("Devices")),
        shm_size=host.number("ShmSize", 0) or 64 << 20,
        init=host.flag("Init"),
        docker=dict(body),
    )


class Reader:
    """Typed reading of a JSON object; null and absence are the empty value. Wrong types are BadParameter."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def text(self, name: str) -> str:
        return self._typed(name, str, "")

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, False)

    def number(self, name: str, default: int = 0) -> int:
        value = self.document.get(name)
        if isinstance(value, bool):
            raise BadParameter(f"invalid {name}: a number expected")
        return self._typed(name, int, default)

    def mapping(self, name: str) -> Mapping[str, Any]:
        return self._typed(name, dict, {})

    def list(self, name: str) -> list[Any]:
        return self._typed(name, list, [])

    def texts(self, name: str) -> Sequence[str]:
        value = self.list(name)
        if not all(isinstance(item, str) for item in value):
            raise BadParameter(f"invalid {name}: a list of strings expected")
        return value

    def strings(self, name: str) -> dict[str, str]:
        value = dict(self.mapping(name))
        if not all(isinstance(item, str) for item in value.values()):
            raise BadParameter(f"invalid {name}: an object of strings expected")
        return value

    def _typed(self, name: str, kind: type[_T], default: _T) -> _T:
        value = self.document.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise BadParameter(f"invalid {name}: {kind.__name__} expected, {type(value).__name__} found")
        return value


def _refuse(read: Reader, host: Reader) -> None:
    """What Docker offers here and we do not yet: one sentence each, before anything is made."""
    if not read.text("Image"):
        raise BadParameter("no image specified")
    if any(host.mapping("PortBindings").values()) or host.flag("PublishAllPorts"):
        raise NotOffered("published ports are not offered yet: use `--network host`, and the program's own port")
    policy = Reader(host.mapping("RestartPolicy")).text("Name")
    if policy not in ("", "no"):
        raise NotOffered(
            f"restart policy {policy!r} is not offered yet: leave it out, or run the program as a Deployment"
        )
    for name, option in _NOT_YET.items():
        if host.document.get(name) not in (None, "", 0, -1, False, [], {}):
            raise NotOffered(f"{option} is not offered yet")
    if read.mapping("Volumes"):
        raise NotOffered("anonymous volumes are not offered yet: use -v with a directory of the host, or --tmpfs")
    health = read.mapping("Healthcheck")
    if health.get("Test") and health["Test"] != ["NONE"]:
        raise NotOffered("health checks are not offered yet: leave them out, or use a pod's probes")
    if host.text("UsernsMode") not in ("", "host"):
        raise NotOffered("user namespaces for containers are not offered yet")
    driver = Reader(host.mapping("LogConfig")).text("Type")
    if driver not in ("", "json-file", "local"):
        raise NotOffered(f"log driver {driver!r} is not offered: logs are kept by the supervisor and read with logs")


def _words(body: Mapping[str, Any], name: str) -> list[str] | None:
    """A list of strings, or one string for a list of one (strslice)."""
    value = body.get(name)
    if value is None:
        return None
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadParameter(f"invalid {name}: a list of strings expected")
    return words


def _env(items: Sequence[str]) -> dict[str, str]:
    """`NAME` alone takes a variable of the image away in Docker; here it is left as it is: nothing to set."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name:
            raise BadParameter(f"invalid environment variable: {item}")
        if equals:
            found[name] = value
    return found


def _network(mode: str) -> str:
    if mode in ("", "default", "none"):
        return "none"  # no bridge yet, so what is not asked for is no network
    if mode == "host":
        return "host"
    if mode == "bridge":
        raise NotOffered(_NO_BRIDGE)
    if mode.startswith("container:"):
        raise NotOffered("sharing another container's network is not offered yet: put both into one pod")
    raise NotOffered(f"network {mode} not found: {_NO_BRIDGE}")


def _namespace(mode: str, name: str) -> str:
    if mode in ("", "private", "shareable"):
        return "private"
    if mode == "host":
        return "host"
    raise NotOffered(f"{name} {mode!r} is not offered yet: use `host`, or leave it out")


def _binds(items: Sequence[str]) -> list[Mount]:
    """`SOURCE:DESTINATION[:OPTIONS]`."""
    found = []
    for item in items:
        parts = item.split(":")
        if not 2 <= len(parts) <= 3 or not parts[0] or not parts[1].startswith("/"):
            raise BadParameter(f"invalid volume specification: '{item}'")
        _check_source(parts[0])
        options = parts[2].split(",") if len(parts) == 3 else []
        if unknown := [o for o in options if o not in ("ro", "rw", "z", "Z", "nocopy", *_PROPAGATIONS)]:
            raise BadParameter(f"invalid mode: {unknown[0]}")
        propagation = next((o for o in options if o in _PROPAGATIONS), "rprivate")
        found.append(Mount(parts[1], parts[0], read_only="ro" in options, propagation=propagation))
    return found


def make_sources(body: Mapping[str, Any]) -> None:
    """Directories that `-v` names and that do not exist are made, as by docker; `--mount` wants them to be there.

    Raises BadParameter in its words (moby: volume/mounts).
    """
    host = Reader(Reader(body).mapping("HostConfig"))
    for item in host.texts("Binds"):
        source = item.partition(":")[0]
        try:
            if not os.path.exists(source):
                os.makedirs(source)
        except OSError as error:
            raise BadParameter(f"error while creating mount source path '{source}': {error.strerror}") from error
    for item in host.list("Mounts"):
        if item.get("Type") == "bind" and not os.path.exists(item["Source"]):
            raise BadParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {item["Source"]}'
            )


def _check_source(source: str) -> None:
    if not source.startswith("/"):
        raise NotOffered(
            f"named volumes are not offered yet ({source}): name a directory of the host by its absolute path"
        )


def _mounts(items: Sequence[Any]) -> list[Mount]:
    """The long form, `--mount type=…`."""
    found = []
    for item in items:
        if not isinstance(item, dict):
            raise BadParameter("invalid Mounts: a list of objects expected")
        read = Reader(item)
        kind, target = read.text("Type"), read.text("Target")
        if not target.startswith("/"):
            raise BadParameter("invalid mount config: mount target must be an absolute path")
        if kind == "bind":
            _check_source(read.text("Source"))
            propagation = Reader(read.mapping("BindOptions")).text("Propagation") or "rprivate"
            found.append(Mount(target, read.text("Source"), read_only=read.flag("ReadOnly"), propagation=propagation))
        elif kind == "tmpfs":
            options = Reader(read.mapping("TmpfsOptions"))
            words = [f"size={size}"] if (size := options.number("SizeBytes")) else []
            words += [f"mode={mode:o}"] if (mode := options.number("Mode")) else []
            found.append(Mount(target, "tmpfs", "tmpfs", read.flag("ReadOnly"), options=tuple(words)))
        else:
            raise NotOffered(f"mounts of type {kind!r} are not offered yet: use bind or tmpfs")
    return found


def _tmpfs(items: Mapping[str, str]) -> list[Mount]:
    # Docker's defaults for --tmpfs: noexec, nosuid, nodev
    return [
        Mount(target, "tmpfs", "tmpfs", options=("noexec", "nosuid", "nodev", *filter(None, words.split(","))))
        for target, words in items.items()
    ]


def updated(held: Resources, asked: Reader) -> Resources:
    """Limits after an update request: what it leaves out, or gives as 0, stays (moby: container.UpdateContainer)."""
    given = resources(asked)
    values = {f.name: getattr(given, f.name) for f in fields(given)}
    if asked.number("PidsLimit") < 0:  # no limit from now on
        held = replace(held, pids=0)
    return replace(held, **{name: value for name, value in values.items() if value and name != "oom_score_adj"})


def resources(host: Reader) -> Resources:
    """Limits of a create request."""
    quota, period = host.number("CpuQuota"), host.number("CpuPeriod")
    if nano := host.number("NanoCpus"):
        if quota or period:
            raise BadParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set.")
        period = 100_000
        quota = nano * period // 1_000_000_000
    memory = host.number("Memory")
    if 0 < memory < 6 << 20:
        raise BadParameter("Minimum memory limit allowed is 6MB")
    adjust = host.document.get("OomScoreAdj")
    return Resources(
        cpu_shares=host.number("CpuShares"),
        cpu_quota=quota,
        cpu_period=period,
        memory=memory,
        pids=max(0, host.number("PidsLimit")),
        cpuset_cpus=host.text("CpusetCpus"),
        oom_score_adj=host.number("OomScoreAdj") if adjust else None,
    )


def _security(read: Reader, host: Reader) -> Security:
    no_new_privileges, seccomp = False, None
    for option in host.texts("SecurityOpt"):
        key, _, value = option.replace(":", "=", 1).partition("=") if "=" not in option else option.partition("=")
        if key == "no-new-privileges":
            no_new_privileges = value in ("", "true")
        elif key == "seccomp":
            seccomp = value
        elif key not in ("apparmor", "label", "systempaths"):
            raise BadParameter(f"invalid --security-opt: {option!r}")
    masked, read_only = host.document.get("MaskedPaths"), host.document.get("ReadonlyPaths")
    return Security(
        user=read.text("User"),
        groups=_groups(host.texts("GroupAdd")),
        privileged=host.flag("Privileged"),
        cap_add=tuple(host.texts("CapAdd")),
        cap_drop=tuple(host.texts("CapDrop")),
        no_new_privileges=no_new_privileges,
        read_only_root=host.flag("ReadonlyRootfs"),
        seccomp=seccomp,
        masked_paths=None if masked is None else tuple(host.texts("MaskedPaths")),
        read_only_paths=None if read_only is None else tuple(host.texts("ReadonlyPaths")),
    )


def _groups(items: Sequence[str]) -> tuple[int, ...]:
    if wrong := [item for item in items if not item.isdigit()]:
        raise NotOffered(f"--group-add {wrong[0]}: groups by name are not offered yet; give the number")
    return tuple(int(item) for item in items)


def _ulimits(items: Sequence[Any]) -> dict[str, tuple[int, int]]:
    found = {}
    for item in items:
        if not isinstance(item, dict):
            raise BadParameter("invalid Ulimits: a list of objects expected")
        read = Reader(item)
        found[read.text("Name")] = (read.number("Soft"), read.number("Hard"))
    return found


def _devices(items: Sequence[Any]) -> list[str]:
    found = []
    for item in items:
        if not isinstance(item, dict):
            raise BadParameter("invalid Devices: a list of objects expected")
        read = Reader(item)
        inside = read.text("PathInContainer") or read.text("PathOnHost")
        found.append(f"{read.text('PathOnHost')}:{inside}:{read.text('CgroupPermissions') or 'rwm'}")
    return found
