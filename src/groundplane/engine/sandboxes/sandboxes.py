"""The engine's sandboxes: `engine.contract.Sandboxes`, over the spawner's pins and a pod network.

A sandbox is a record (durable) and pins (as long as the host is up): files of `RUN/s/<id12>/` that namespaces are
bound to. After a restart of the host the pins are gone and are made again, with the same address; the node then
starts the pod's containers again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import shutil
from pathlib import Path

from groundplane.base import files
from groundplane.base.clock import Clock, SystemClock
from groundplane.base.ids import hex_id
from groundplane.base.jsonyaml import DecodeError, dumps, loads
from groundplane.base.log import Log
from groundplane.base.settings import Settings
from groundplane.base.tasks import in_thread, to_its_end
from groundplane.engine.containers.connection import Connection, close_all
from groundplane.engine.containers.limits import limits
from groundplane.engine.containers.link import Link
from groundplane.engine.containers.places import Places
from groundplane.engine.contract import (
    BadParameter,
    EngineError,
    NoSuchContainer,
    Resources,
    SandboxInfo,
    SandboxSpec,
)
from groundplane.engine.sandboxes.contract import PodNetwork
from groundplane.kernel.calls import mount, process
from groundplane.kernel.cgroups import registry
from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import open_process
from groundplane.wire.spawner import Failed, Message, Pin, Pinned

_log = Log("engine.sandboxes")
_SHM_SIZE = 64 << 20  # bytes, as the CRI runtimes give


class Sandboxes:
    """All sandboxes of one instance. `recover` before `Containers.recover`."""

    def __init__(self, settings: Settings, link: Link, network: PodNetwork, clock: Clock | None = None) -> None:
        self._places = Places.of(settings)
        self._link = link
        self._network = network
        self._clock = clock or SystemClock()
        self._groups = registry.detect()
        self._infos: dict[str, SandboxInfo] = {}

    async def recover(self) -> None:
        """Find every sandbox again, make pins that a restart of the host took away, finish half-removed ones."""
        self._places.sandboxes.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.sweep(self._places.sandboxes)
        for path in sorted(self._places.sandboxes.glob("*.json")):
            try:
                info = _read(path)
            except (DecodeError, KeyError, TypeError, ValueError) as error:
                _log.warning("half-made sandbox removed", sandbox=path.stem[:12], why=str(error))
                await self._take_away(path.stem, cgroup="")
                continue
            try:
                address = await self._furnish(info.id, info.spec)
            except (EngineError, OSError) as error:  # the node sees a pod without an address, and makes another
                _log.error("sandbox cannot be made again", sandbox=info.id[:12], error=str(error))
                address = ""
            self._infos[info.id] = dataclasses.replace(info, address=address)
        known = {id[:12] for id in self._infos}
        for directory in self._places.pins.iterdir() if self._places.pins.is_dir() else ():
            if directory.name not in known:
                self._unpin(directory)

    async def create(self, spec: SandboxSpec) -> SandboxInfo:
        if spec.network not in ("host", "none", "pod"):
            raise BadParameter(f"invalid sandbox network {spec.network!r}: host, none or pod is expected")
        id = hex_id()
        made = int(self._clock.time() * 1e9)
        netns = "" if spec.network == "host" else str(self._places.pin_dir(id) / "net")
        info = SandboxInfo(id, spec, made, "", netns)
        # Written first: whatever is made after this line is found by its id, and taken away, after a kill.
        _write(self._places.sandboxes / f"{id}.json", info)
        try:
            # To its end: cancelled meanwhile, an agent of the spawner would go on making what is being taken away.
            info = dataclasses.replace(info, address=await to_its_end(self._furnish(id, spec)))
        except BaseException:
            await to_its_end(self._take_away(id, spec.cgroup_parent))
            raise
        _write(self._places.sandboxes / f"{id}.json", info)
        self._infos[id] = info
        return info

    async def _furnish(self, id: str, spec: SandboxSpec) -> str:
        """Cgroup, pins and network, as far as they are not there; the address."""
        if spec.cgroup_parent:
            self._make_cgroup(spec)
        directory = self._places.pin_dir(id)
        if not directory.exists():
            await self._pin(directory, spec)
        if spec.network != "pod":
            return ""
        return await self._network.attach(str(directory / "net"), id)

    def _make_cgroup(self, spec: SandboxSpec) -> None:
        path = f"{self._places.cgroups}/{spec.cgroup_parent}"
        try:
            self._groups.create(path)
            if spec.resources != Resources():
                for sentence in self._groups.set(path, limits(spec.resources)):
                    _log.warning("limit not granted", cgroup=path, why=sentence)
        except KernelError as error:
            raise EngineError(f"the cgroup of sandbox {spec.name} cannot be made: {error}") from error

    async def _pin(self, directory: Path, spec: SandboxSpec) -> None:
        kinds = [] if spec.network == "host" else ["net", "uts"]
        if not spec.host_ipc:
            kinds.append("ipc")
        if spec.share_pid:
            kinds.append("pid")
        beside = directory.with_name(f".{directory.name}")
        self._unpin(beside)
        beside.mkdir(parents=True, mode=0o700)
        order = Pin(
            directory=str(beside),
            namespaces=kinds,
            hostname=spec.hostname or os.uname().nodename,
            sysctls=[f"{name}={value}" for name, value in spec.sysctls.items()],
        )
        if not spec.host_ipc:
            self._mount_shared_memory(beside / "shm")
        await self._ordered(order)
        beside.rename(directory)  # the pins move with it: a directory of this name has all of them

    def _mount_shared_memory(self, place: Path) -> None:
        """/dev/shm of all containers of the pod."""
        place.mkdir()
        try:
            flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
            mount.mount("shm", str(place), "tmpfs", flags, f"mode=1777,size={_SHM_SIZE}")
        except KernelError as error:
            raise EngineError(f"the sandbox's /dev/shm cannot be made: {error}") from error

    async def _ordered(self, order: Pin) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_message(message: Message, fds: list[int]) -> None:
            close_all(fds)
            if isinstance(message, Pinned):
                answer.set_result(None)
            elif isinstance(message, Failed):
                answer.set_exception(EngineError(message.message))

        def on_end() -> None:
            if not answer.done():
                answer.set_exception(EngineError("the spawner died while it made namespaces; try again"))

        control, theirs = Connection.pair(on_message, on_end)
        try:
            await self._link.order(order, [theirs.fileno()])
        finally:
            theirs.close()
        try:
            await answer
        finally:
            control.close()

    async def remove(self, id: str) -> None:
        info = self._infos.get(id)
        await self._take_away(id, info.spec.cgroup_parent if info else "")
        self._infos.pop(id, None)

    async def _take_away(self, id: str, cgroup: str) -> None:
        await self._network.detach(id)
        self._unpin(self._places.pin_dir(id))
        self._unpin(self._places.pin_dir(id).with_name(f".{id[:12]}"))
        if cgroup:
            path = f"{self._places.cgroups}/{cgroup}"

            def remove() -> None:
                self._groups.kill(path)
                self._groups.remove(path)

            try:
                await in_thread(remove)  # whose processes do not die may keep it for seconds
            except KernelError as error:
                raise EngineError(f"the cgroup of sandbox {id[:12]} stays: {error}") from error
        (self._places.sandboxes / f"{id}.json").unlink(missing_ok=True)

    def _unpin(self, directory: Path) -> None:
        """Let go of the namespaces bound below a directory, and of the process that holds a PID namespace."""
        if not directory.is_dir():
            return
        try:
            pid, ticks = map(int, (directory / "holder").read_text().split())
        except (FileNotFoundError, ValueError):
            pid = ticks = 0
        if pid and (pidfd := open_process(pid, ticks)) >= 0:
            try:
                process.pidfd_send_signal(pidfd, 9)
            except KernelError as error:
                if error.errno != errno.ESRCH:  # it has just ended
                    raise
            finally:
                os.close(pidfd)
        for name in ("net", "uts", "ipc", "pid", "shm"):
            try:
                mount.umount2(str(directory / name), mount.MNT_DETACH)
            except KernelError:  # EINVAL, ENOENT: it is not bound
                continue
        shutil.rmtree(directory)

    def get(self, id: str) -> SandboxInfo:
        if (info := self._infos.get(id)) is None:
            raise NoSuchContainer(f"No such sandbox: {id}")
        return info

    def list(self) -> list[SandboxInfo]:
        return sorted(self._infos.values(), key=lambda info: info.created_at)


def _write(path: Path, info: SandboxInfo) -> None:
    spec = dataclasses.asdict(info.spec)
    document = {"id": info.id, "spec": spec, "created_at": info.created_at, "address": info.address}
    files.replace(path, dumps(document | {"netns": info.netns}), durable=False)


def _read(path: Path) -> SandboxInfo:
    document = loads(path.read_bytes())
    spec = document.pop("spec")
    spec["resources"] = Resources(**spec["resources"])
    return SandboxInfo(spec=SandboxSpec(**spec), **document)
