"""Images for tests: a store without containers, and images of hand-made layers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from groundplane.base.jsonyaml import dumps
from groundplane.engine.contract import ImageInfo
from groundplane.engine.images.store import ImageStore
from groundplane.oci.image import CONFIG, LAYER_TAR, Descriptor, Manifest


class Users:
    """`ImageUsers` that a test fills."""

    def __init__(self) -> None:
        self.containers: dict[str, list[tuple[str, bool]]] = {}
        self.kept: list[set[str]] = []

    def containers_of(self, image_id: str) -> Sequence[tuple[str, bool]]:
        return self.containers.get(image_id, [])

    async def layers_kept(self, diff_ids: Collection[str]) -> None:
        self.kept.append(set(diff_ids))


def store(root: Path, users: Users | None = None) -> ImageStore:
    return ImageStore(str(root / "images"), users or Users())


def member(name: str, data: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer; a file unless `type` says otherwise."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, mode: int = 0o755, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode, **changes)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def image(images: ImageStore, name: str, *layers: bytes, **config: Any) -> ImageInfo:
    """Store an image of these (uncompressed) layers."""

    def make() -> ImageInfo:
        descriptors = [Descriptor(LAYER_TAR, images.blobs.put(layer), len(layer)) for layer in layers]
        rootfs = {"type": "layers", "diff_ids": [descriptor.digest for descriptor in descriptors]}
        document = dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, **config})
        made = Manifest(Descriptor(CONFIG, images.blobs.put(document), len(document)), descriptors)
        return images.set_name(name, images.blobs.put(made.encode()))

    return await images.change(make)
