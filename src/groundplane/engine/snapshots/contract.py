"""The snapshots' contract: how a container gets its root file system, and gets rid of it.

Vocabulary
    *Layer*: one tar of an image, known by its diff id (the digest of the uncompressed tar). It is unpacked once for
    each stack of layers below it (its chain id), to `ROOT/snapshots/layers/<hex>/fs`, shared by every snapshot over
    it, and never written again.
    *Snapshot*: a writable directory over an image's layers, known by its container's id. It is a directory of ours
    that lives until `remove`, mounted or not.
    *Root*: the directory where a mounted snapshot is seen, `ROOT/snapshots/containers/<id>/root`.

Life
    prepare → mount → (unmount → mount)* → unmount → remove. Every call is idempotent, so that a caller that was killed
    in the middle only repeats it. What a container wrote survives unmount and a reboot.

    >>> snapshot = await snapshots.prepare(container_id, image.id)   # containers.create
    >>> root = snapshots.mount(container_id)                         # containers.start: give it to the runtime
    >>> snapshots.unmount(container_id)                              # the process has ended
    >>> await snapshots.remove(container_id)                         # containers.remove

Rules
    The mount is made in the engine's mount namespace, so it survives the engine's death: `mount` after a restart finds
    it and returns at once. A layer stays while an image or a snapshot needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from groundplane.engine.contract import EngineError


class SnapshotError(EngineError):
    """A root file system could not be made, mounted, or removed."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image: its diff id, and the blob (a tar, plain or compressed) that it is unpacked from."""

    diff_id: str  # sha256:…
    blob_path: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One container's root file system. `root` is where it is (or will be) mounted; `upper` is what it wrote."""

    id: str
    image_id: str
    diff_ids: tuple[str, ...]  # bottom first
    root: str
    upper: str


class LayerSource(Protocol):
    """Where layers come from: the image store."""

    def layers(self, image_id: str) -> Sequence[Layer]:
        """The layers of an image, bottom first. Raises NoSuchImage."""
        ...


class Snapshots(Protocol):
    async def prepare(self, id: str, image_id: str) -> Snapshot:
        """Make the container's directories, unpacking layers that were not yet. Idempotent for the same image.

        Raises NoSuchImage, SnapshotError; on an error nothing of the snapshot is left.
        """
        ...

    def mount(self, id: str) -> str:
        """Mount it unless it is, and return the root directory; well under a millisecond. Raises SnapshotError."""
        ...

    def unmount(self, id: str) -> None:
        """Take the mount away, also where processes still hold files in it. Success where there is none."""
        ...

    async def remove(self, id: str) -> None:
        """Unmount, and delete what the container wrote. Success where there is no such snapshot."""
        ...

    def get(self, id: str) -> Snapshot:
        """Raises SnapshotError where there is no such snapshot."""
        ...

    async def size(self, id: str) -> int:
        """Bytes that the container wrote (docker's SizeRw)."""
        ...

    async def sweep(self, keep: Collection[str]) -> list[str]:
        """After a start of the engine: remove snapshots whose container is not in `keep`, and half-unpacked layers.

        Touches only what is below this instance's own root. The ids that were removed.
        """
        ...

    async def prune(self, diff_ids: Collection[str]) -> None:
        """Delete unpacked layers that neither a snapshot nor `diff_ids` (the images' layers) needs."""
        ...
