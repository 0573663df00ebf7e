"""An engine's containers over a real spawner, in a root of the test's own, which ends without a trace."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.engine_parts import BusyboxImage, DirectorySnapshots
from tests.real import leaks

from groundplane.base.settings import Settings
from groundplane.engine.containers.containers import Containers
from groundplane.engine.containers.link import Link
from groundplane.engine.contract import ContainerSpec, State, Streams
from groundplane.engine.sandboxes.contract import NoPodNetwork, PodNetwork
from groundplane.engine.sandboxes.sandboxes import Sandboxes
from groundplane.runtime.resident.command import spawner_argv


class Rig:
    """One instance; `engine_dies` and `engine_starts` stand for a kill of groundd and its next start."""

    def __init__(self, directory: Path, image: BusyboxImage, network: PodNetwork) -> None:
        self.settings = Settings(root=str(directory / "root"), run=str(directory / "run"))
        self.run = Path(self.settings.run)
        self.root = Path(self.settings.root)
        self._image = image
        self._network = network
        self._snapshots = DirectorySnapshots(directory / "snapshots")
        self.containers: Containers
        self.sandboxes: Sandboxes
        self.link: Link

    async def engine_starts(self) -> None:
        self.link = Link(self.settings.spawner_socket, spawner_argv(self.settings.run))
        await self.link.start()
        self.sandboxes = Sandboxes(self.settings, self.link, self._network)
        await self.sandboxes.recover()
        self.containers = Containers(self.settings, self._image, self._snapshots, self.link, self.sandboxes)
        await self.containers.recover()

    async def engine_dies(self) -> None:
        """Its sockets close and it writes nothing more, as with kill -9."""
        await self.containers.close()
        await self.link.close()

    async def create(self, *command: str, **options: Any) -> str:
        return await self.containers.create(ContainerSpec(image="busybox", args=command, **options))

    async def start(self, *command: str, **options: Any) -> str:
        id = await self.create(*command, **options)
        await self.containers.start(id)
        return id

    async def output(self, id: str) -> bytes:
        return b"".join([line.data async for line in self.containers.logs(id)])

    def spawners(self) -> list[int]:
        """One, or none; what it has just forked still bears its name, and is its child."""
        return _eldest(self._named("ground-spawner"))

    async def spawner(self) -> int:
        return await self._the_one(self.spawners)

    def _named(self, wanted: str) -> list[int]:
        found = [line.split(" ")[:2] for line in leaks.processes([self.run])]
        return [int(pid) for pid, name in found if name == wanted]

    def supervisors(self, id: str) -> list[int]:
        """The zygote's namesakes that have the container's FIFOs open: one, two while it is forked, or none."""
        path = f"/{id[:12]}/stdout"
        return _eldest([pid for pid in self._named("ground-superv") if _has_open(pid, path)])

    async def supervisor(self, id: str) -> int:
        return await self._the_one(lambda: self.supervisors(id))

    def all_supervisors(self) -> list[int]:
        """And launchers, and the zygote."""
        return self._named("ground-superv")

    def zygotes(self) -> list[int]:
        """The one of that name that has nothing of any container open."""
        path = f"{self.run}/c/"
        return [pid for pid in self._named("ground-superv") if not _has_open(pid, path)]

    async def zygote(self) -> int:
        return await self._the_one(self.zygotes)

    async def _the_one(self, look: Callable[[], list[int]]) -> int:
        """What is found once only one is: forks come and go, and what is being looked at changes meanwhile."""
        found: list[int] = []

        def is_one() -> bool:
            found[:] = look()
            return len(found) == 1

        await self.eventually(is_one)
        return found[0]

    async def catches(self, pid: int, number: int) -> None:
        """Return once the process has a handler for the signal: a shell's `trap` is set (proc(5), SigCgt)."""

        def caught() -> bool:
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)

        await self.eventually(caught)

    async def eventually(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"it did not happen in time; {leaks.processes([self.run])}"
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        for info in self.containers.list(hidden=True):
            await self.containers.remove(info.id, force=True)
        for sandbox in self.sandboxes.list():
            await self.sandboxes.remove(sandbox.id)
        assert not any(info.state is State.RUNNING for info in self.containers.list(hidden=True))
        await self.eventually(lambda: len(self._named("ground-spawner")) == 1 and self.link._ready.is_set())
        await self.engine_dies()
        pid = await self.spawner()
        os.kill(pid, signal.SIGTERM)
        await self.eventually(lambda: not leaks.processes([self.run]))
        try:
            os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 because it does not wait
        except ChildProcessError:  # it was adopted by somebody else
            pass


def _eldest(named: list[int]) -> list[int]:
    return [pid for pid in named if _parent(pid) not in named]


def _has_open(pid: int, path: str) -> bool:
    def leads_there(fd: str) -> bool:
        try:
            return path in os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:  # it, or the process, has gone meanwhile
            return False

    try:
        return any(map(leads_there, os.listdir(f"/proc/{pid}/fd")))
    except FileNotFoundError:
        return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split(" ")[2])
    except FileNotFoundError:
        return 0


@asynccontextmanager
async def rig(image: BusyboxImage | None = None, network: PodNetwork | None = None) -> AsyncIterator[Rig]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    made = Rig(directory, image or BusyboxImage(), network or NoPodNetwork())
    try:
        await made.engine_starts()
        try:
            yield made
        finally:
            await made.close()
        assert leaks.left(made.root, made.run) == []
        assert leaks.files(made.run / "c") == []
        assert leaks.files(made.run / "s") == []
        assert leaks.files(made.root / "containers") == []
    finally:
        for line in leaks.processes([made.run]):  # only after a failure
            os.kill(int(line.split(" ")[0]), signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


async def read_all(streams: Streams) -> dict[int, bytes]:
    """Everything from both streams until they end."""
    got = {1: b"", 2: b""}
    while (chunk := await streams.read()) is not None:
        got[chunk[0]] += chunk[1]
    return got
