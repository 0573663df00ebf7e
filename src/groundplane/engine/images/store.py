"""The image store: names to manifests to blobs, and the engine's `Images` over them.

Read from the event loop without waiting (documents are small and cached); changed under one lock, in a thread, because
durable writes wait for the disk. The state root's lock (one owner) is held by the daemon, not here.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from groundplane.base.clock import parse_rfc3339
from groundplane.base.log import Log
from groundplane.base.tasks import in_thread
from groundplane.engine.contract import Conflicting, EngineError, ImageInfo, NoSuchImage
from groundplane.engine.images.blobs import BlobError, Blobs
from groundplane.engine.images.contract import ImageUsers
from groundplane.engine.images.index import NameIndex
from groundplane.engine.snapshots.contract import Layer
from groundplane.oci.image import MAX_DOCUMENT, Descriptor, ImageDocumentError, Manifest, read_manifest
from groundplane.oci.image_config import ImageConfig, read_config
from groundplane.oci.image_names import BadReference, Reference, parse_reference

_log = Log("engine.images")
_HEX = re.compile(r"[0-9a-f]{1,64}\Z")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A manifest with its configuration, both verified."""

    digest: str  # of the manifest
    manifest: Manifest
    config: ImageConfig

    @property
    def id(self) -> str:
        return self.manifest.config.digest


class ImageStore:
    """The engine's images; also the layers' source for snapshots."""

    def __init__(self, root: str, users: ImageUsers) -> None:
        os.makedirs(root, mode=0o700, exist_ok=True)
        self.blobs = Blobs(root)
        self.blobs.sweep()
        self._index = NameIndex(root)
        self._users = users
        self._images: dict[str, StoredImage] = {}
        self._lock = asyncio.Lock()

    # Reading

    def resolve(self, name: str) -> ImageInfo:
        return self._info(self._find(name))

    def layers(self, image_id: str) -> Sequence[Layer]:
        image = self._by_id(image_id)
        return [
            Layer(diff_id, self.blobs.path(blob.digest), blob.media_type)
            for diff_id, blob in zip(image.config.diff_ids, image.manifest.layers, strict=True)
        ]

    def manifest(self, name: str) -> Manifest:
        return self._find(name).manifest

    def _find(self, name: str) -> StoredImage:
        """Docker's order: a whole id, a name, then a unique prefix of an id."""
        if name.startswith("sha256:") and len(name) == 71:
            return self._by_id(name)
        try:
            reference = parse_reference(name).with_default_tag()
        except BadReference:
            reference = None
        if reference and (found := self._named(reference)):
            return found
        prefix = name.removeprefix("sha256:")
        if _HEX.match(prefix):
            ids = {image.id: image for image in self._readable()}
            matching = [image for id, image in ids.items() if id.removeprefix("sha256:").startswith(prefix)]
            if len(matching) == 1:
                return matching[0]
        raise NoSuchImage(f"No such image: {reference.familiar if reference else name}")

    def _named(self, reference: Reference) -> StoredImage | None:
        if not reference.digest:
            found = self._index.names.get(reference.full)
            return self._load(found.digest) if found else None
        for name in self._index.names_of(reference.digest):
            if parse_reference(name).repository == reference.repository:
                return self._load(reference.digest)
        return None

    def _by_id(self, image_id: str) -> StoredImage:
        for image in self._readable():
            if image.id == image_id:
                return image
        raise NoSuchImage(f"No such image: {image_id}")

    def _load(self, digest: str) -> StoredImage:
        if digest not in self._images:
            self._images[digest] = self.verify(digest)
        return self._images[digest]

    def _readable(self) -> Iterator[StoredImage]:
        """All images but damaged ones: one bad block must not hide the others. Each use by name says what is wrong."""
        for digest in self._index.manifests:
            try:
                yield self._load(digest)
            except (BlobError, ImageDocumentError) as error:
                _log.error("image damaged", manifest=digest, error=str(error))

    def verify(self, digest: str) -> StoredImage:
        """Read a manifest and its configuration, and check that they fit. Raises BlobError, ImageDocumentError."""
        manifest = read_manifest(self.blobs.read(digest, limit=MAX_DOCUMENT))
        config = read_config(self.blobs.read(manifest.config.digest, limit=MAX_DOCUMENT))
        if len(config.diff_ids) != len(manifest.layers):
            raise ImageDocumentError(
                f"image {digest}: its configuration names {len(config.diff_ids)} layers, "
                f"its manifest has {len(manifest.layers)}"
            )
        return StoredImage(digest, manifest, config)

    def _info(self, image: StoredImage) -> ImageInfo:
        created = image.config.document.get("created")
        try:
            created_at = int(parse_rfc3339(created) * 1e9) if isinstance(created, str) else 0
        except ValueError:
            created_at = 0
        return ImageInfo(
            id=image.id,
            names=[parse_reference(name).familiar for name in self._index.names_of(image.digest)],
            config=image.config.document,
            size=sum(layer.size for layer in image.manifest.layers),
            created_at=created_at,
            digest=image.digest,
        )

    # Changing

    async def change(self, work: Callable[[], _T]) -> _T:
        """Run blocking work that writes blobs or names in a thread, alone. Its blobs cannot be collected meanwhile."""
        async with self._lock:
            try:
                return await in_thread(work)
            except OSError as error:  # a full disk, a failing one
                what = f" ({error.filename})" if error.filename else ""
                raise EngineError(f"images cannot be written{what}: {error.strerror}") from error

    def set_name(self, name: str, manifest_digest: str) -> ImageInfo:
        """Give an image a name, taking it from the image that had it. Called inside `change`."""
        reference = parse_reference(name).with_default_tag()
        image = self.verify(manifest_digest)
        size = self.blobs.size(manifest_digest)
        self._index.set_name(reference.full, Descriptor(image.manifest.media_type, manifest_digest, size))
        return self._info(image)

    async def tag(self, source: str, target: str) -> None:
        """Another name for an image. Raises NoSuchImage, BadReference."""
        digest = self._find(source).digest
        await self.change(lambda: self.set_name(target, digest))

    async def remove(self, name: str, *, force: bool = False) -> list[str]:
        try:
            image = self._find(name)
        except (BlobError, ImageDocumentError):
            return await self._remove_damaged(name)
        names = self._index.names_of(image.digest)
        by_id = _is_id(name, image.id)
        dropped = names if by_id else [self._name_meant(name)]
        conflict = self._conflict(image, names, dropped, name if not by_id else "", force=force)
        if conflict and (by_id or not force):
            raise Conflicting(conflict)
        lines = [f"Untagged: {parse_reference(n).familiar}" for n in dropped]
        last = len(dropped) == len(names) and not conflict
        await self.change(lambda: self._drop(image, dropped, last=last))
        if not last:
            return lines
        await self._users.layers_kept({diff_id for kept in self._readable() for diff_id in kept.config.diff_ids})
        return [*lines, f"Deleted: {image.id}"]

    async def _remove_damaged(self, name: str) -> list[str]:
        """What cannot be read can still be taken out of the index, so that the image can be made again."""
        digest = self._index.names[self._name_meant(name)].digest
        names = self._index.names_of(digest)
        await self.change(lambda: self._index.drop_manifest(digest))
        return [f"Untagged: {parse_reference(n).familiar}" for n in names]

    def _name_meant(self, name: str) -> str:
        reference = parse_reference(name).with_default_tag()
        if not reference.digest:
            return reference.full
        named = self._index.names_of(reference.digest)
        return next(n for n in named if parse_reference(n).repository == reference.repository)

    def _conflict(
        self, image: StoredImage, names: Sequence[str], dropped: Sequence[str], reference: str, *, force: bool
    ) -> str:
        """Why the image cannot go, in Docker's words (daemon/images/image_delete.go); empty where it can."""
        short = image.id.removeprefix("sha256:")[:12]
        if len(dropped) < len(names):
            return ""  # other names stay, so the image does
        users = sorted(self._users.containers_of(image.id), key=lambda user: not user[1])
        if reference and users and not force:
            return (
                f'conflict: unable to remove repository reference "{reference}" (must force) - '
                f"container {users[0][0][:12]} is using its referenced image {short}"
            )
        unable = f"conflict: unable to delete {short}"
        if users and users[0][1]:
            return f"{unable} (cannot be forced) - image is being used by running container {users[0][0][:12]}"
        if force:
            return ""
        if len({parse_reference(name).repository for name in names}) > 1 or len(names) > 1:
            return f"{unable} (must be forced) - image is referenced in multiple repositories"
        if users:
            return f"{unable} (must be forced) - image is being used by stopped container {users[0][0][:12]}"
        return ""

    def _drop(self, image: StoredImage, names: Sequence[str], *, last: bool) -> None:
        if not last:
            self._index.drop_names([*names])
            return
        self._index.drop_manifest(image.digest)
        self._images.pop(image.digest, None)
        self.blobs.keep_only(self._referenced())

    def _referenced(self) -> set[str]:
        found = set(self._index.manifests)
        for image in self._readable():
            found |= {image.id, *(layer.digest for layer in image.manifest.layers)}
        return found

    # Last, because inside the class its name hides the built-in type from the annotations that follow.
    def list(self) -> list[ImageInfo]:
        infos = [self._info(image) for image in self._readable()]
        return sorted(infos, key=lambda info: (-info.created_at, info.id))


def _is_id(name: str, image_id: str) -> bool:
    prefix = name.removeprefix("sha256:")
    return bool(_HEX.match(prefix)) and image_id.removeprefix("sha256:").startswith(prefix)
