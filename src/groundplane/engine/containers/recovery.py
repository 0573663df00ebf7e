"""After a start of the engine: which containers are there, which still run, and what is only half there.

Whatever was killed, and at whichever moment, one of these holds for a container:
- a record with a supervisor, or one that the spawner is about to fork: it runs, and is adopted;
- a record, no supervisor, and an end file newer than the state: it ended while nobody looked;
- a record that says it runs, and none of these: the host went down, and the end is unknown;
- `.ID`, or a directory without a record: half removed or half made; the rest of it is taken away;
- a record that cannot be read (a failing disk, another version's): nothing of it is touched.
Only this instance's directories, snapshots and cgroups are swept.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from groundplane.base import files
from groundplane.base.log import Log
from groundplane.engine.containers import logs
from groundplane.engine.containers.life import Lives
from groundplane.engine.containers.places import Places
from groundplane.engine.containers.record import DamagedRecord, HalfMade, Record, load, read_end, save_state
from groundplane.engine.contract import State
from groundplane.engine.snapshots.contract import Snapshots
from groundplane.kernel.cgroups.contract import Groups
from groundplane.kernel.errors import KernelError
from groundplane.wire.spawner import UNKNOWN, Spawn, SpawnerProtocolError, Started, decode

_log = Log("engine.recovery")


async def recover(places: Places, lives: Lives, snapshots: Snapshots, groups: Groups) -> list[Record]:
    """Every container of this instance, running ones adopted."""
    places.state.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    damaged: list[str] = []
    for directory in sorted(places.state.iterdir()):
        try:
            if (record := _found(directory)) is not None:
                records.append(record)
                continue
        except DamagedRecord as error:
            _log.error("container left alone", container=directory.name[:12], why=str(error))
            damaged.append(directory.name)
            continue
        _take_away(directory, places, groups)
    await asyncio.gather(*(_recover(record, places, lives) for record in records))
    running = {record.id for record in records if record.state is State.RUNNING}
    known = [*(record.id for record in records), *damaged]
    for id in await snapshots.sweep(known):
        _log.warning("snapshot without container removed", snapshot=id[:12])
    for record in records:
        if record.id not in running:
            snapshots.unmount(record.id)
            _sweep(record.id, places, groups, places.cgroup(record.id, record.spec.cgroup_parent))
    _sweep_run_dirs(places, {id[:12] for id in known}, groups)
    return records


def _found(directory: Path) -> Record | None:
    """The container of a directory; None where it is half removed or half made. Raises DamagedRecord."""
    if directory.name.startswith("."):
        return None
    try:
        if directory.is_dir():
            files.sweep(directory)
        return load(directory)
    except HalfMade as error:
        _log.warning("half-made container removed", container=directory.name[:12], why=str(error))
        return None


def _take_away(directory: Path, places: Places, groups: Groups) -> None:
    """The rest of a container that is half made or half removed. A pod's log lies elsewhere: its record says where."""
    with suppress(HalfMade, DamagedRecord):
        for path in logs.files_of(load(directory).log_path):
            Path(path).unlink(missing_ok=True)
    _sweep(directory.name.removeprefix("."), places, groups)
    shutil.rmtree(directory, ignore_errors=True)


async def _recover(record: Record, places: Places, lives: Lives) -> None:
    if (supervised := await lives.find(record)) is not None:
        lives.adopt(record, supervised)
        return
    if (end := read_end(places.end_file(record.id))) is not None and end.at > record.finished_at:
        if record.state is not State.RUNNING:
            record.begin(Started(0, 0, end.started, []))  # the whole run was seen by its supervisor alone
        record.oom_killed, record.finished_at = end.oom, end.at
        record.exit_code = None if end.code == UNKNOWN else end.code
    elif record.state is State.RUNNING:
        record.exit_code, record.finished_at = None, record.started_at
        record.error = "the host went down while it ran"
    else:
        return
    record.state = State.EXITED
    save_state(record, places.directory(record.id))


def _sweep_run_dirs(places: Places, known: set[str], groups: Groups) -> None:
    if not places.run.is_dir():
        return
    for directory in places.run.iterdir():
        if directory.name not in known:
            _sweep(directory.name, places, groups)
            shutil.rmtree(directory, ignore_errors=True)


def _sweep(id: str, places: Places, groups: Groups, cgroup: str = "") -> None:
    """Kill and remove what a container that does not run has left in its cgroup."""
    for path in [cgroup] if cgroup else _orders(places.run_dir(id)):
        try:
            if path.startswith(f"{places.cgroups}/") and groups.exists(path):
                groups.kill(path)
                groups.remove(path)
        except KernelError as error:
            _log.error("cgroup stays", cgroup=path, error=str(error))


def _orders(run_dir: Path) -> list[str]:
    """The cgroup that a supervisor's orders name, where its container's record has gone."""
    try:
        order = decode((run_dir / "supervise").read_bytes())
    except (FileNotFoundError, SpawnerProtocolError):
        return []
    return [order.cgroup] if isinstance(order, Spawn) else []
