"""The engine's containers: `engine.contract.Containers`, over snapshots, images and the spawner."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from groundplane.base.clock import Clock, SystemClock
from groundplane.base.errors import NotFoundError
from groundplane.base.ids import hex_id
from groundplane.base.log import Log
from groundplane.base.settings import Settings
from groundplane.base.tasks import Tasks, in_thread, to_its_end
from groundplane.engine.containers import execs, logs, names, oci_config
from groundplane.engine.containers.connection import Connection, connected
from groundplane.engine.containers.events import EngineEvents
from groundplane.engine.containers.life import Lives, signal_number
from groundplane.engine.containers.limits import limits
from groundplane.engine.containers.link import Link
from groundplane.engine.containers.places import Places
from groundplane.engine.containers.record import Record, save
from groundplane.engine.containers.recovery import recover
from groundplane.engine.containers.streams import AttachStreams
from groundplane.engine.containers.users import Who
from groundplane.engine.contract import (
    BadParameter,
    Conflicting,
    ContainerInfo,
    ContainerSpec,
    EngineError,
    EngineEvent,
    ExecSpec,
    Images,
    LogLine,
    NoSuchContainer,
    Resources,
    Sandboxes,
    State,
    Streams,
)
from groundplane.engine.snapshots.contract import Snapshots
from groundplane.kernel.cgroups import registry
from groundplane.kernel.errors import KernelError
from groundplane.wire.spawner import Attach

_log = Log("engine.containers")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Containers:
    """All containers of one instance. `recover` once before anything else, `close` at the end."""

    def __init__(
        self,
        settings: Settings,
        images: Images,
        snapshots: Snapshots,
        link: Link,
        sandboxes: Sandboxes,
        clock: Clock | None = None,
    ) -> None:
        self._images = images
        self._snapshots = snapshots
        self._link = link
        self._sandboxes = sandboxes
        self._clock = clock or SystemClock()
        self._places = Places.of(settings)
        self._groups = registry.detect()
        self._events = EngineEvents()
        self._lives = Lives(self._places, snapshots, link, self._groups, self._events, self._clock)
        self._tasks = Tasks("engine.autoremove")
        self._records: dict[str, Record] = {}
        self._names: dict[str, str] = {}
        self._to_attach: dict[str, list[socket.socket]] = {}  # of attaches before the start

    async def recover(self) -> None:
        """After a start of the engine: find every container again, finish half-made and half-removed ones."""
        for record in await recover(self._places, self._lives, self._snapshots, self._groups):
            if not record.image_config:  # none, or of a version that kept no copy
                record.image_config = self._configuration(record.image_id)
            self._records[record.id] = record
            self._names[record.name] = record.id
            if record.spec.auto_remove:
                self._remove_at_end(record)

    async def close(self) -> None:
        """Let go of all containers; they go on."""
        await self._tasks.stop()
        await self._lives.close()
        for record in self._records.values():
            if record.supervised is not None:
                record.supervised.close()
            if record.pidfd >= 0:
                os.close(record.pidfd)
                record.pidfd = -1
        for waiting in self._to_attach.values():
            for sock in waiting:
                sock.close()
        if not any(record.state is State.RUNNING for record in self._records.values()):
            await self._remove_group(self._places.cgroups)  # the instance's own; made again when it is needed

    def events(self) -> AsyncIterator[EngineEvent]:
        """Changes of containers from now on."""
        return self._events.listen()

    # -- create and remove --------------------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> str:
        name = self._free_name(spec.name)
        image = self._images.resolve(spec.image)
        id = hex_id()
        config = image.config.get("config") or {}
        record = Record(
            id=id,
            name=name,
            spec=replace(spec, name=name),
            image_id=image.id,
            created_at=int(self._clock.time() * 1e9),
            argv=oci_config.command(spec, config),
            log_path=spec.log_path or str(self._places.directory(id) / "log"),
            hostname=self._hostname(spec, id),
            image_config=config,
        )
        # A trial run, because what is wrong with the request is docker's 400 here, not a failure at the start.
        oci_config.build(spec, config, Who(), oci_config.Place(id, record.hostname, "/", "x", {}))
        signal_number(self._stop_signal(record))
        self._names[name] = id  # before the first wait, so that nobody else takes it
        try:
            await self._snapshots.prepare(id, image.id)
            self._places.directory(id).mkdir(parents=True, mode=0o700)
            await in_thread(partial(save, record, self._places.directory(id)))  # it waits for the disk
        except BaseException:
            await to_its_end(self._discard(record))
            raise
        self._records[id] = record
        self._lives.tell(record, "create")
        return id

    def _free_name(self, wanted: str) -> str:
        name = wanted.removeprefix("/")
        if not name:
            return names.generate(self._names)
        if not _NAME.fullmatch(name):
            raise BadParameter(f"Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        if name in self._names:
            raise Conflicting(
                f'Conflict. The container name "/{name}" is already in use by container "{self._names[name]}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        return name

    def _hostname(self, spec: ContainerSpec, id: str) -> str:
        if spec.hostname:
            return spec.hostname
        if spec.network == "host":
            return os.uname().nodename
        if spec.network.startswith("sandbox:"):
            sandbox = self._sandboxes.get(spec.network.removeprefix("sandbox:"))
            return sandbox.spec.hostname or os.uname().nodename
        return id[:12]

    def _stop_signal(self, record: Record) -> str:
        return record.spec.stop_signal or str(record.image_config.get("StopSignal") or "") or "SIGTERM"

    async def remove(self, id: str, *, force: bool = False) -> None:
        record = self._record(id)
        if force and record.state is State.RUNNING:
            self._lives.signal(record, 9)  # at once, also where a restart holds the lock and waits for the end
        async with record.lock:
            if record.id not in self._records:  # another call was faster
                return
            if record.state is State.RUNNING:
                if not force:
                    raise Conflicting(
                        f'cannot remove container "/{record.name}": container is running: '
                        "stop the container before removing or force remove"
                    )
                await self._lives.stop(record, 9, -1)
            await self._lives.settled(record)
            try:
                await to_its_end(self._discard(record))  # nobody would find the rest before the engine's next start
            finally:
                if record.id not in self._records:  # gone, whatever is left of it, and whoever has asked
                    record.announce()
                    self._lives.tell(record, "destroy")

    async def _discard(self, record: Record) -> None:
        """Take away every trace. The record is renamed first: found like that after a kill, the rest is finished."""
        directory = self._places.directory(record.id)
        gone = directory.with_name(f".{record.id}")
        if directory.exists():
            directory.rename(gone)
        self._records.pop(record.id, None)
        if self._names.get(record.name) == record.id:
            del self._names[record.name]
        for sock in self._to_attach.pop(record.id, ()):
            sock.close()
        await self._snapshots.remove(record.id)
        # Usually the supervisor has removed the group; not if it was killed at that moment.
        await self._remove_group(self._places.cgroup(record.id, record.spec.cgroup_parent))
        shutil.rmtree(self._places.run_dir(record.id), ignore_errors=True)
        for path in logs.files_of(record.log_path):
            Path(path).unlink(missing_ok=True)
        shutil.rmtree(gone, ignore_errors=True)

    async def _remove_group(self, path: str) -> None:
        def remove() -> None:
            self._groups.kill(path)
            self._groups.remove(path)

        try:
            if self._groups.exists(path):
                await in_thread(remove)  # whose processes do not die may keep it for seconds
        except KernelError as error:
            _log.error("cgroup stays", cgroup=path, error=str(error))

    # -- run ----------------------------------------------------------------------------------------------------

    async def start(self, id: str) -> None:
        record = self._record(id)
        async with record.lock:
            await self._start(record)

    async def _start(self, record: Record) -> None:
        """Under the record's lock."""
        self._still_there(record)
        if record.state is State.RUNNING:
            return
        attached = self._to_attach.pop(record.id, [])
        try:
            # Cancelled before it is known whether it runs, the container would be removed beside its launcher.
            await to_its_end(self._lives.start(record, attached))
        finally:
            # Those who came meanwhile too: they see the end of their line, and look for the supervisor by themselves.
            for sock in (*attached, *self._to_attach.pop(record.id, ())):
                sock.close()
            if record.spec.auto_remove:
                self._remove_at_end(record)

    def _remove_at_end(self, record: Record) -> None:
        async def remove() -> None:
            while True:
                await self._lives.until_ended(record, -1)
                try:
                    await self.remove(record.id)
                    return
                except NotFoundError:  # somebody did
                    return
                except Conflicting:  # it was restarted: its next end is meant
                    continue

        self._tasks.start(f"remove {record.id[:12]}", remove())

    async def stop(self, id: str, timeout: float | None = None, signal: str = "") -> None:
        await self._stop(self._record(id), timeout, signal)

    async def _stop(self, record: Record, timeout: float | None, signal: str) -> None:
        seconds = record.spec.stop_timeout if timeout is None else timeout
        await self._lives.stop(record, signal_number(signal or self._stop_signal(record)), seconds)

    async def restart(self, id: str, timeout: float | None = None, signal: str = "") -> None:
        record = self._record(id)
        async with record.lock:
            await self._stop(record, timeout, signal)
            await self._start(record)

    def _configuration(self, image_id: str) -> Mapping[str, Any]:
        try:
            return self._images.resolve(image_id).config.get("config") or {}
        except NotFoundError:  # it was removed by force
            return {}

    async def kill(self, id: str, signal: str = "SIGKILL") -> None:
        self._lives.signal(self._record(id), signal_number(signal))

    async def wait(self, id: str, *, next_exit: bool = False) -> int:
        """As in the contract; with `next_exit`, of the next end even if it has not been started yet (docker's)."""
        record = self._record(id)
        while next_exit and record.state is not State.RUNNING and record.id in self._records:
            former = record.finished_at
            await record.changed.wait()
            if record.finished_at != former:
                break
        await self._lives.until_ended(record, -1)
        if record.state is State.CREATED:
            return 0
        return -1 if record.exit_code is None else record.exit_code

    # -- look ---------------------------------------------------------------------------------------------------

    def get(self, id: str) -> ContainerInfo:
        return self._record(id).info()

    def list(self, *, hidden: bool = False) -> list[ContainerInfo]:
        found = [r.info() for r in self._records.values() if hidden or not r.spec.hidden]
        return sorted(found, key=lambda info: info.created_at, reverse=True)

    def _record(self, text: str) -> Record:
        wanted = text.removeprefix("/")
        if record := self._records.get(wanted) or self._records.get(self._names.get(wanted, "")):
            return record
        found = [r for r in self._records.values() if r.id.startswith(wanted)] if wanted else []
        if len(found) > 1:
            raise BadParameter(f"Multiple IDs found with provided prefix: {wanted}")
        if not found:
            raise NoSuchContainer(f"No such container: {text}")
        return found[0]

    def _still_there(self, record: Record) -> None:
        """Asked once the lock is held: whoever had it before may have removed the container."""
        if record.id not in self._records:
            raise NoSuchContainer(f"No such container: {record.id}")

    def stats(self, id: str) -> Mapping[str, int]:
        record = self._running(id)
        stats = self._groups.stats(self._places.cgroup(record.id, record.spec.cgroup_parent))
        numbers = {
            "cpu_ns": stats.cpu_ns,
            "memory": stats.memory,
            "memory_limit": stats.memory_limit,
            "pids": stats.pids,
        }
        return {name: value for name, value in numbers.items() if value is not None}

    async def update(self, id: str, resources: Resources) -> None:
        record = self._record(id)
        async with record.lock:
            self._still_there(record)
            if record.state is State.RUNNING:
                cgroup = self._places.cgroup(record.id, record.spec.cgroup_parent)
                try:
                    refused = self._groups.set(cgroup, limits(resources))
                except KernelError as error:
                    raise EngineError(f"Cannot update container {record.id}: {error}") from error
                for sentence in refused:
                    _log.warning("limit not granted", container=record.id[:12], why=sentence)
            record.spec = replace(record.spec, resources=resources)
            await in_thread(partial(save, record, self._places.directory(record.id)))

    def logs(
        self, id: str, *, follow: bool = False, tail: int | None = None, since: int = 0, until: int = 0
    ) -> AsyncIterator[LogLine]:
        record = self._record(id)
        wanted = logs.Wanted(tail, since, until)
        if not follow:
            return logs.read(record.log_path, wanted)
        return logs.follow(
            record.log_path,
            wanted,
            running=lambda: record.state is State.RUNNING,
            changed=lambda: record.changed,
        )

    # -- processes and streams ----------------------------------------------------------------------------------

    async def exec(self, id: str, spec: ExecSpec) -> Streams:
        record = self._running(id)
        streams = await execs.run(record, spec, self._places, self._link)

        async def tell_end() -> None:
            try:
                self._lives.tell(record, "exec_die", await streams.wait())
            except asyncio.CancelledError:  # its streams were closed before the end
                pass

        self._tasks.start(f"exec in {record.id[:12]}", tell_end())
        return streams

    async def attach(self, id: str) -> Streams:
        record = self._record(id)

        async def connect(streams: AttachStreams) -> Connection | None:
            while record.state is State.RUNNING:
                try:
                    sock = connected(str(self._places.run_dir(record.id) / "sock"))
                except OSError:  # its supervisor is being replaced
                    await self._clock.sleep(0.02)
                    continue
                connection = Connection(sock, streams.on_message, streams.on_end)
                connection.send(Attach())
                return connection
            return None

        created = record.state is not State.RUNNING
        streams = AttachStreams(lambda: self.wait(record.id, next_exit=created), connect)
        if created:
            streams.connection, theirs = Connection.pair(streams.on_message, streams.on_end)
            self._to_attach.setdefault(record.id, []).append(theirs)
        elif (connection := await connect(streams)) is None:
            streams.on_end()
        else:
            streams.connection = connection
        return streams

    def _running(self, id: str) -> Record:
        record = self._record(id)
        if record.state is not State.RUNNING:
            raise Conflicting(f"container {record.id} is not running")
        return record
