"""The engine of one instance: images, snapshots, containers and sandboxes plugged together.

    ROOT/images      blobs, names, layers remembered by fingerprint
    ROOT/snapshots   unpacked layers, containers' root file systems
    ROOT/containers, ROOT/sandboxes   records (each of its own room)

Started and closed by `daemon`; closing leaves all containers running.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence

from groundplane.base.clock import Clock, SystemClock
from groundplane.base.settings import Settings
from groundplane.engine import contract
from groundplane.engine.containers.containers import Containers
from groundplane.engine.containers.link import Link
from groundplane.engine.contract import EngineEvent, State
from groundplane.engine.images.from_host.build import Made, make_image
from groundplane.engine.images.from_host.contract import FromHost
from groundplane.engine.images.store import ImageStore
from groundplane.engine.sandboxes.contract import NoPodNetwork, PodNetwork
from groundplane.engine.sandboxes.sandboxes import Sandboxes
from groundplane.engine.snapshots.overlay import Overlay


class LocalEngine:
    """`engine.contract.Engine`, and what only the engine's own door needs."""

    def __init__(
        self,
        settings: Settings,
        spawner_argv: Sequence[str],
        network: PodNetwork | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        images = os.path.join(settings.root, "images")
        self._image_cache = os.path.join(images, "cache")
        self._images = ImageStore(images, self)
        self.snapshots = Overlay(os.path.join(settings.root, "snapshots"), self._images)
        self._link = Link(settings.spawner_socket, spawner_argv)
        self._sandboxes = Sandboxes(settings, self._link, network or NoPodNetwork(), clock)
        self._containers = Containers(settings, self._images, self.snapshots, self._link, self._sandboxes, clock)
        self.images: contract.Images = self._images
        self.containers: contract.Containers = self._containers
        self.sandboxes: contract.Sandboxes = self._sandboxes

    async def start(self) -> None:
        """Reach the spawner, and find again what an earlier engine of this root left. Raises EngineError."""
        await self._link.start()
        await self._sandboxes.recover()
        await self._containers.recover()

    async def close(self) -> None:
        """Let go; containers, their mounts and the spawner go on."""
        await self._containers.close()
        await self._link.close()
        self.snapshots.close()

    def events(self) -> AsyncIterator[EngineEvent]:
        return self._containers.events()

    # What the door needs

    async def image_from_host(self, wish: FromHost) -> Made:
        """Make an image of this host's files, unpacked, so that its first container need not wait."""
        made = await make_image(self._images, self._image_cache, wish)
        await self.snapshots.unpack_image(made.image.id)
        return made

    async def tag_image(self, source: str, target: str) -> None:
        await self._images.tag(source, target)

    def image_layers(self, name: str) -> Sequence[tuple[str, int]]:
        layers = self._images.layers(self._images.resolve(name).id)
        return [(layer.diff_id, os.stat(layer.blob_path).st_size) for layer in layers]

    async def container_size(self, id: str) -> int:
        return await self.snapshots.size(self._containers.get(id).id)

    # ImageUsers: what the image store asks of its neighbours

    def containers_of(self, image_id: str) -> Sequence[tuple[str, bool]]:
        infos = self._containers.list(hidden=True)
        return [(info.id, info.state is State.RUNNING) for info in infos if info.image_id == image_id]

    async def layers_kept(self, diff_ids: Collection[str]) -> None:
        await self.snapshots.prune(diff_ids)
