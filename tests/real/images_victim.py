"""A process that makes, unpacks and removes images until it is killed; each line on its output is a finished round.

python images_victim.py DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from groundplane.engine.images.from_host.build import make_image
from groundplane.engine.images.from_host.contract import Add, FromHost
from groundplane.engine.images.store import ImageStore
from groundplane.engine.snapshots.overlay import Overlay


class Nobody:
    def __init__(self) -> None:
        self.snapshots: Overlay | None = None

    def containers_of(self, image_id: str) -> Sequence[tuple[str, bool]]:
        return ()

    async def layers_kept(self, diff_ids: Collection[str]) -> None:
        if self.snapshots is not None:
            await self.snapshots.prune(diff_ids)


async def main(directory: Path) -> None:
    users = Nobody()
    images = ImageStore(str(directory / "images"), users)
    users.snapshots = snapshots = Overlay(str(directory / "snapshots"), images)
    await snapshots.sweep([])
    source = directory / "source"
    source.mkdir(exist_ok=True)
    print("ready", flush=True)
    for number in range(10**6):
        (source / "file").write_text(f"{number} " * 20000)
        for name in ("one", "two"):
            made = await make_image(
                images,
                str(directory / "images/cache"),
                FromHost(name, ["/bin/cat"], (Add(str(source), "/srv"),), {"NAME": name}),
            )
            await snapshots.prepare(name, made.image.id)
            snapshots.mount(name)
            await snapshots.remove(name)
        await images.remove("two")
        for image in images.list():
            if not image.names:
                await images.remove(image.id)
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
