"""What every handler gets from its application: the engine, its images' maker, the settings, the clock, the execs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from groundplane.base.clock import Clock
from groundplane.base.jsonyaml import dumps
from groundplane.base.settings import Settings
from groundplane.base.tasks import Tasks
from groundplane.engine.contract import Engine, ExecSpec, ImageInfo, NoSuchImage, Streams
from groundplane.engine.images.from_host.build import Made
from groundplane.engine.images.from_host.contract import FromHost


class DoorEngine(Engine, Protocol):
    """The engine's contract, and what only its own door needs."""

    async def image_from_host(self, wish: FromHost) -> Made: ...

    async def tag_image(self, source: str, target: str) -> None: ...

    def image_layers(self, name: str) -> Sequence[tuple[str, int]]:
        """Each layer's diff id and size in bytes, bottom first."""
        ...

    async def container_size(self, id: str) -> int:
        """Bytes that the container wrote over its image."""
        ...


@dataclass(slots=True)
class Exec:
    """An exec instance: made by `POST /containers/{id}/exec`, started once, kept until its container is gone."""

    id: str
    container: str
    spec: ExecSpec
    open_stdin: bool
    streams: Streams | None = None
    started: bool = False
    exit_code: int | None = None


@dataclass(slots=True)
class Door:
    engine: DoorEngine
    settings: Settings
    clock: Clock
    tasks: Tasks
    execs: dict[str, Exec] = field(default_factory=dict)

    def image_of(self, image_id: str) -> ImageInfo | None:
        """The image of a container, unless it was removed by force."""
        try:
            return self.engine.images.resolve(image_id)
        except NoSuchImage:
            return None


DOOR: web.AppKey[Door] = web.AppKey("door", Door)


def door(request: web.Request) -> Door:
    return request.app[DOOR]


def json_answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=dumps(value) + b"\n", content_type="application/json")


def no_content(status: int = 204) -> web.Response:
    return web.Response(status=status)
