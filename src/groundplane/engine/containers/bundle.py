"""The bundle of a container about to start: its user, its namespaces, its config.json, and the spawner's order."""

from __future__ import annotations

from pathlib import Path

from groundplane.base.jsonyaml import dumps
from groundplane.engine.containers import etc_files, oci_config, users
from groundplane.engine.containers.places import Places
from groundplane.engine.containers.record import Record
from groundplane.engine.contract import BadParameter, ContainerSpec, EngineError
from groundplane.wire.spawner import Spawn

LOG_MAX_BYTES = 10 << 20
LOG_FILES = 5


def prepare(record: Record, places: Places, *, layout: str) -> Spawn:
    """Write the bundle of a container whose root is mounted at `record.rootfs`; the order that starts it.

    `layout` is the host's cgroup layout. Raises EngineError.
    """
    spec, image = record.spec, record.image_config
    directory = places.directory(record.id)
    who = users.resolve(record.rootfs, spec.security.user or image.get("User") or "", spec.security.groups)
    cgroup = places.cgroup(record.id, spec.cgroup_parent)
    place = oci_config.Place(
        id=record.id,
        hostname=record.hostname,
        root=record.rootfs,
        cgroup=cgroup,
        namespaces=namespaces(spec, places, layout=layout),
        shm=_shared_memory(spec, places),
        generated=etc_files.generate(directory, spec, record.hostname),
    )
    run_dir = places.run_dir(record.id)
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (run_dir / "config.json").write_bytes(dumps(oci_config.build(spec, image, who, place)))
    Path(record.log_path).parent.mkdir(parents=True, exist_ok=True)
    return Spawn(
        id=record.id,
        run_dir=str(run_dir),
        log_path=record.log_path,
        exit_path=str(places.end_file(record.id)),
        cgroup=cgroup,
        terminal=spec.tty,
        stdin=spec.stdin_open,
        uid=who.uid,
        gid=who.gid,
        log_max_bytes=LOG_MAX_BYTES,
        log_files=LOG_FILES,
        sync=not spec.auto_remove,
    )


def namespaces(spec: ContainerSpec, places: Places, *, layout: str) -> dict[str, str]:
    """OCI type → path (empty: a new one). Types that are absent are the host's. Raises BadParameter."""
    result = {"mount": ""}
    if spec.network == "host":
        result["uts"] = ""
    elif spec.network == "none":
        result |= {"network": "", "uts": ""}
    else:
        result |= {"network": _pin(spec.network, "net", places), "uts": _pin(spec.network, "uts", places)}
    for kind, mode in (("pid", spec.pid_mode), ("ipc", spec.ipc_mode)):
        if mode == "private":
            result[kind] = ""
        elif mode != "host":
            result[kind] = _pin(mode, kind, places)
    if layout == "v2" and not spec.security.privileged:
        result["cgroup"] = ""  # docker's default: private on v2, the host's on v1
    return {kind: path for kind, path in result.items() if path != "host"}


def _shared_memory(spec: ContainerSpec, places: Places) -> str:
    """Containers that share an IPC namespace share /dev/shm too, as in a pod."""
    if spec.ipc_mode == "private":
        return ""
    own = places.pin_dir(spec.ipc_mode.partition(":")[2]) / "shm"
    return str(own) if own.is_dir() else "/dev/shm"


def _pin(mode: str, name: str, places: Places) -> str:
    kind, _, sandbox = mode.partition(":")
    if kind != "sandbox" or not sandbox:
        raise BadParameter(f"invalid mode {mode!r}: none, host, private, or sandbox:ID is expected")
    directory = places.pin_dir(sandbox)
    if (directory / name).exists():
        return str(directory / name)
    if name != "pid" and directory.is_dir():
        return "host"  # a sandbox on the host's network, or with the host's IPC, has no pin of it
    raise EngineError(f"sandbox {sandbox[:12]} has no {name} namespace to share; was it removed?")
