"""What is kept of a container: on disk in two small files, and in memory with what cannot be on disk.

`container.json` is what was asked for, written once at `create` and flushed to the disk, because the answer to
`create` promises it. `state.json` is what has happened; it is replaced at start and end without a flush, because a
kill of ours cannot lose it (it is in the kernel's cache), and after a power failure the end file or the absence of
the process tells the same. Both are written beside and renamed, so that a reader finds all of a file or the former.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from groundplane.base import files
from groundplane.base.jsonyaml import DecodeError, dumps, loads
from groundplane.base.log import Log
from groundplane.engine.containers.states import move
from groundplane.engine.containers.supervised import Supervised
from groundplane.engine.contract import (
    ContainerInfo,
    ContainerSpec,
    EngineError,
    Mount,
    Resources,
    Security,
    State,
)
from groundplane.wire.spawner import Started

_log = Log("engine.containers")
_VERSION = 1


class HalfMade(EngineError):
    """A container's directory without a record: `create` was killed before it had promised anything."""


class DamagedRecord(EngineError):
    """A container's record is there and cannot be read; it is left alone, since what it cost to make is in it."""


@dataclass(slots=True)
class Record:
    """One container. Fields up to `image_config` never change; `spec.resources` changes by `update`."""

    id: str
    name: str
    spec: ContainerSpec
    image_id: str
    created_at: int
    argv: list[str]
    log_path: str
    hostname: str
    image_config: Mapping[str, Any] = field(default_factory=dict)  # its image's `config`, which may go before it
    state: State = State.CREATED
    started_at: int = 0
    finished_at: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    pid: int = 0
    ticks: int = 0
    rootfs: str = ""
    pidfd: int = -1
    supervised: Supervised | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # replaced at each change: waiters hold the old one

    def move(self, what: str) -> None:
        """Go to another state. Raises IllegalMove."""
        self.state = move(self.id[:12], self.state, what)

    def begin(self, started: Started) -> None:
        """Its program runs, for the first time or again."""
        if self.finished_at:
            self.restart_count += 1
        self.move("start")
        self.pid, self.ticks = started.pid, started.ticks
        self.started_at, self.finished_at = started.at, 0
        self.exit_code, self.oom_killed, self.error = None, False, ""

    def announce(self) -> None:
        """Wake everyone who waits for a change."""
        former, self.changed = self.changed, asyncio.Event()
        former.set()

    def info(self) -> ContainerInfo:
        running = self.state is State.RUNNING
        return ContainerInfo(
            id=self.id,
            spec=self.spec,
            image_id=self.image_id,
            state=self.state,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            pid=self.pid if running else 0,
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            error=self.error,
            log_path=self.log_path,
            restart_count=self.restart_count,
            rootfs=self.rootfs if running else "",
            argv=tuple(self.argv),
        )


_FIXED = ("id", "name", "image_id", "created_at", "argv", "log_path", "hostname")
_CHANGING = ("started_at", "finished_at", "exit_code", "oom_killed", "error", "restart_count", "pid", "ticks")


def save(record: Record, directory: Path) -> None:
    """Write `container.json` durably."""
    document: dict[str, Any] = {"version": _VERSION, "spec": _spec_document(record.spec)}
    document |= {name: getattr(record, name) for name in _FIXED} | {"image_config": dict(record.image_config)}
    files.replace(directory / "container.json", dumps(document), durable=True)


def save_state(record: Record, directory: Path) -> None:
    """Write `state.json`, where the disk lets us.

    A full one must not hold up an end, since removing containers is what makes room; the next engine then learns the
    same from the supervisor or from the end file.
    """
    document: dict[str, Any] = {"state": record.state.value}
    document |= {name: getattr(record, name) for name in _CHANGING}
    try:
        files.replace(directory / "state.json", dumps(document), durable=False)
    except OSError as error:
        _log.error("state not written", container=record.id[:12], error=str(error))


def load(directory: Path) -> Record:
    """Raises HalfMade, DamagedRecord."""
    try:
        document = loads((directory / "container.json").read_bytes())
        if document.get("version") != _VERSION:
            raise DamagedRecord(f"{directory} was written by another version ({document.get('version')})")
        record = Record(spec=_read_spec(document["spec"]), **{name: document[name] for name in _FIXED})
        record.image_config = document.get("image_config") or {}
    except FileNotFoundError as error:
        raise HalfMade(f"{directory} holds no container") from error
    except (OSError, DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRecord(f"{directory} holds no readable container: {error}") from error
    try:
        document = loads((directory / "state.json").read_bytes())
        record.state = State(document["state"])
        for name in _CHANGING:
            setattr(record, name, document[name])
    except (OSError, DecodeError, KeyError, ValueError):
        record.state = State.CREATED  # never started, or cut short by a power failure: the end file says the rest
    return record


class End(NamedTuple):
    """A run's end as its supervisor has left it: the exit code (UNKNOWN: -1), and two times in nanoseconds."""

    code: int
    oom: bool
    at: int
    started: int


def read_end(path: Path) -> End | None:
    """What stands in the end file; None where there is none."""
    try:
        document = loads(path.read_bytes())
        return End(int(document["code"]), bool(document["oom"]), int(document["at"]), int(document["started"]))
    except (FileNotFoundError, DecodeError, KeyError, TypeError, ValueError):
        return None


def _spec_document(spec: ContainerSpec) -> dict[str, Any]:
    return {f.name: _plain(getattr(spec, f.name)) for f in dataclasses.fields(spec)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return dict(value) if hasattr(value, "items") else value


def _read_spec(document: dict[str, Any]) -> ContainerSpec:
    values = dict(document)
    values["mounts"] = tuple(Mount(**{**m, "options": tuple(m["options"])}) for m in values["mounts"])
    values["resources"] = Resources(**values["resources"])
    security = dict(values["security"])
    for name in ("groups", "cap_add", "cap_drop", "masked_paths", "read_only_paths"):
        security[name] = None if security[name] is None else tuple(security[name])
    values["security"] = Security(**security)
    values["ulimits"] = {name: (soft, hard) for name, (soft, hard) in values["ulimits"].items()}
    for name in ("entrypoint", "args"):
        values[name] = None if values[name] is None else tuple(values[name])
    values["devices"] = tuple(values["devices"])
    return ContainerSpec(**values)
