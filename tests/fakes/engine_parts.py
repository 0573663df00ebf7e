"""Images and snapshots for tests of containers alone: one image, of busybox, and plain directories as roots."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from groundplane.engine.contract import ImageInfo, NoSuchImage
from groundplane.engine.snapshots.contract import Snapshot, SnapshotError

BUSYBOX = shutil.which("busybox") or "/bin/busybox"
_APPLETS = "sh cat echo sleep true false env id ls mount ps kill head seq yes dd stty hostname wc touch test tr"


class BusyboxImage:
    """`engine.contract.Images` with exactly one image, whose configuration the test chooses."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        document = {"config": {"Cmd": ["sh"], "Env": ["FROM=image"], **(config or {})}}
        self.image = ImageInfo("sha256:" + "b" * 64, ("busybox:test",), document, 1, 1)

    def resolve(self, name: str) -> ImageInfo:
        if name not in ("busybox", self.image.id):
            raise NoSuchImage(f"No such image: {name}")
        return self.image

    def list(self) -> list[ImageInfo]:
        return [self.image]

    async def remove(self, name: str, *, force: bool = False) -> list[str]:
        raise NotImplementedError("tests of containers remove no images")


class DirectorySnapshots:
    """`engine.snapshots.contract.Snapshots` without mounts: each container gets a directory with busybox in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def _root(self, id: str) -> Path:
        return self._directory / id

    async def prepare(self, id: str, image_id: str) -> Snapshot:
        root = self._root(id)
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "tmp").chmod(0o1777)
        if not (root / "bin/busybox").exists():
            try:
                os.link(BUSYBOX, root / "bin/busybox")
            except OSError:  # another file system
                shutil.copy2(BUSYBOX, root / "bin/busybox")
            for applet in _APPLETS.split(" "):
                (root / "bin" / applet).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nalice:x:1000:\naudio:x:29:alice\n")
        return self.get(id)

    def mount(self, id: str) -> str:
        return str(self._root(id))

    def unmount(self, id: str) -> None:
        """Nothing is ever mounted."""

    async def remove(self, id: str) -> None:
        shutil.rmtree(self._root(id), ignore_errors=True)

    def get(self, id: str) -> Snapshot:
        if not self._root(id).exists():
            raise SnapshotError(f"no snapshot {id}")
        return Snapshot(id, "sha256:" + "b" * 64, (), str(self._root(id)), str(self._root(id)))

    async def size(self, id: str) -> int:
        return 0

    async def sweep(self, keep: Collection[str]) -> list[str]:
        gone = [path.name for path in self._directory.iterdir() if path.name not in keep]
        for id in gone:
            await self.remove(id)
        return gone

    async def prune(self, diff_ids: Collection[str]) -> None:
        """There are no layers."""
