"""An engine in memory for the node agent: containers run until a test or a stop ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from groundplane.base.clock import Clock
from groundplane.engine.contract import (
    Conflicting,
    ContainerInfo,
    ContainerSpec,
    EngineError,
    EngineEvent,
    ExecSpec,
    ImageInfo,
    NoSuchContainer,
    SandboxInfo,
    SandboxSpec,
    State,
)
from groundplane.node.views import CONTAINER_NAME


class FakeEngine:
    """`engine.contract.Engine`, as far as a worker uses it, and its three parts in one.

    `log` is what was asked for, in order. `refuse` may raise before any call, which is named `verb container`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._infos: dict[str, ContainerInfo] = {}
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._count = 0
        self.log: list[str] = []
        self.refuse: Callable[[str], None] = lambda _: None
        self.deaf: set[str] = set()  # names of containers that no stop ends
        self.images, self.containers, self.sandboxes = _Images(), self, _Sandboxes(self)

    def told(self, verb: str, info: ContainerInfo) -> None:
        call = f"{verb} {info.spec.labels.get(CONTAINER_NAME, info.spec.name)}"
        self.log.append(call)
        self.refuse(call)

    def _now(self) -> int:
        return int(self._clock.time() * 1e9)

    def named(self, name: str) -> list[ContainerInfo]:
        """The attempts of a container, the newest first."""
        found = [i for i in self._infos.values() if i.spec.labels.get(CONTAINER_NAME) == name]
        return found[::-1]

    def end(self, name: str, code: int) -> None:
        """The newest attempt ends by itself."""
        info = self.named(name)[0]
        ended = replace(info, state=State.EXITED, exit_code=code, finished_at=self._now())
        self._infos[info.id] = ended
        self._events.put_nowait(EngineEvent("die", info.id, self._now(), info.spec.labels, code))

    async def create(self, spec: ContainerSpec) -> str:
        if any(info.spec.name == spec.name for info in self._infos.values()):
            raise Conflicting(f"{spec.name} is in use")
        self._count += 1
        info = ContainerInfo(f"{self._count:064x}", spec, spec.image, State.CREATED, self._now())
        self.told("create", info)
        self._infos[info.id] = info
        return info.id

    async def start(self, id: str) -> None:
        self.told("start", info := self.get(id))
        self._infos[id] = replace(info, state=State.RUNNING, started_at=self._now())

    async def stop(self, id: str, timeout: float | None = None) -> None:
        info = self.get(id)
        self.told("stop", info)
        name = info.spec.labels.get(CONTAINER_NAME, "")
        if name in self.deaf:
            await self._clock.sleep(info.spec.stop_timeout if timeout is None else timeout)
        if self.get(id).state is State.RUNNING:
            self.end(name, 137 if name in self.deaf else 143)

    async def remove(self, id: str, *, force: bool = False) -> None:
        self.told("remove", self.get(id))
        del self._infos[id]

    def get(self, id: str) -> ContainerInfo:
        if id not in self._infos:
            raise NoSuchContainer(f"No such container: {id}")
        return self._infos[id]

    def list(self, *, hidden: bool = False) -> list[ContainerInfo]:
        return list(self._infos.values())

    async def exec(self, id: str, spec: ExecSpec) -> Any:
        self.told("exec", self.get(id))
        raise EngineError("no command can be run here")

    async def events(self) -> AsyncIterator[EngineEvent]:
        while True:
            yield await self._events.get()


class _Images:
    """Every image is here."""

    def resolve(self, name: str) -> ImageInfo:
        return ImageInfo("sha256:1", (name,), {"config": {}}, 1, 1)

    def list(self) -> list[ImageInfo]:
        return []


class _Sandboxes:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._made: dict[str, SandboxInfo] = {}

    async def create(self, spec: SandboxSpec) -> SandboxInfo:
        self._engine.log.append("create sandbox")
        self._engine.refuse("create sandbox")
        number = len([line for line in self._engine.log if line == "create sandbox"])
        address = f"10.244.0.{number}" if spec.network == "pod" else ""
        return self.put(SandboxInfo(f"sandbox-{number}", spec, number, address, ""))

    def put(self, info: SandboxInfo) -> SandboxInfo:
        self._made[info.id] = info
        return info

    async def remove(self, id: str) -> None:
        self._engine.log.append("remove sandbox")
        self._made.pop(id, None)

    def list(self) -> list[SandboxInfo]:
        return list(self._made.values())
