"""Snapshots as overlay mounts: the one driver so far.

    ROOT/snapshots/layers/<chain hex>/fs        a layer, unpacked        (by chain id: see `unpack`)
                                      /diff     → its diff id            (symbolic links serve as records, because
                                      /parent   → chain hex of the one below   making one is atomic and needs no fsync)
                                      /boot     → the boot in which it was unpacked
                                      /synced   → once the disk has it
    ROOT/snapshots/containers/<id>/upper work root, and the links `chain` and `image`
    ROOT/snapshots/trash/                       what is being deleted

A layer is renamed into place when it is whole. Its files are not synced one by one (30 ms instead of seconds); after a
power cut the layers of an earlier boot that were never synced are unpacked again before anything uses them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection, Sequence
from functools import partial

from groundplane.base.ids import name_suffix
from groundplane.base.log import Log
from groundplane.base.tasks import in_thread
from groundplane.engine.contract import EngineError
from groundplane.engine.snapshots.contract import Layer, LayerSource, Snapshot, SnapshotError
from groundplane.engine.snapshots.streams import open_layer
from groundplane.engine.snapshots.trees import remove_tree, tree_size
from groundplane.engine.snapshots.unpack import unpack
from groundplane.kernel.calls.mount import MNT_DETACH, mount, umount2
from groundplane.kernel.errors import KernelError
from groundplane.oci.image import ImageDocumentError
from groundplane.oci.image_config import chain_id
from groundplane.oci.image_layer import LayerReader

_log = Log("engine.snapshots")
_EMPTY = "empty"  # overlay wants at least one lower directory, also for an image without layers
_PAGE = 4096  # mount(2): the options must fit into one page, with their end mark


class Overlay:
    """The `Snapshots` contract over overlayfs. Used from one event loop; long work runs in threads."""

    def __init__(self, root: str, source: LayerSource) -> None:
        self._layers = os.path.join(root, "layers")
        self._containers = os.path.join(root, "containers")
        self._trash = os.path.join(root, "trash")
        self._source = source
        self._unpacking = asyncio.Lock()
        self._marking = threading.Lock()
        self._closed = False
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            self._boot = f.read().strip()
        for directory in (self._layers, self._containers, self._trash):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(self._layers, _EMPTY, "fs"), mode=0o755, exist_ok=True)

    async def prepare(self, id: str, image_id: str) -> Snapshot:
        chain = await self._ensure_layers(image_id)
        path = self._path(id)
        if not os.path.isdir(path):
            self._make(path, image_id, chain)
        return self.get(id)

    def _make(self, path: str, image_id: str, chain: str) -> None:
        new = os.path.join(self._trash, f"new-{os.path.basename(path)}-{name_suffix()}")
        try:
            os.mkdir(new, 0o700)
            for name, mode in (("upper", 0o755), ("work", 0o700), ("root", 0o755)):
                os.mkdir(os.path.join(new, name))
                os.chmod(os.path.join(new, name), mode)  # whatever the umask is
            # The upper directory is the container's `/`, so it has the image's owner and mode.
            below = os.stat(os.path.join(self._layers, chain, "fs"))
            os.chmod(os.path.join(new, "upper"), below.st_mode & 0o7777)
            os.chown(os.path.join(new, "upper"), below.st_uid, below.st_gid)
            os.symlink(chain, os.path.join(new, "chain"))
            os.symlink(image_id, os.path.join(new, "image"))
            os.rename(new, path)
        except OSError as error:
            remove_tree(new)
            raise SnapshotError(f"snapshot {path}: {error.strerror}") from error

    def mount(self, id: str) -> str:
        path = self._path(id)
        root = os.path.join(path, "root")
        if _is_mounted(root):
            return root
        chain = self._record(id, "chain")
        lowers = [os.path.join(self._layers, link, "fs") for link in self._stack(chain)]
        options = f"upperdir={_escape(path)}/upper,workdir={_escape(path)}/work,lowerdir="
        plain = options + ":".join(_escape(lower) for lower in lowers)
        try:
            if len(os.fsencode(plain)) < _PAGE:
                mount("overlay", root, "overlay", 0, plain)
            else:
                _mount_by_descriptors(root, options, lowers)
        except (KernelError, FileNotFoundError) as error:
            raise SnapshotError(f"snapshot {id[:12]}: its root file system cannot be mounted: {error}") from error
        return root

    def unmount(self, id: str) -> None:
        root = os.path.join(self._path(id), "root")
        while _is_mounted(root):
            umount2(root, MNT_DETACH)

    async def remove(self, id: str) -> None:
        path = self._path(id)
        if not os.path.isdir(path):
            return
        self.unmount(id)
        aside = os.path.join(self._trash, f"{id}-{name_suffix()}")
        os.rename(path, aside)  # from here on it is gone; a crash leaves work for the next start's sweep
        await in_thread(partial(_delete, aside))

    def get(self, id: str) -> Snapshot:
        path = self._path(id)
        chain = self._record(id, "chain")
        diff_ids = [
            os.readlink(os.path.join(self._layers, link, "diff")) for link in self._stack(chain) if link != _EMPTY
        ]
        return Snapshot(
            id=id,
            image_id=self._record(id, "image"),
            diff_ids=tuple(reversed(diff_ids)),
            root=os.path.join(path, "root"),
            upper=os.path.join(path, "upper"),
        )

    async def size(self, id: str) -> int:
        return await asyncio.to_thread(tree_size, os.path.join(self._path(id), "upper"))

    async def sweep(self, keep: Collection[str]) -> list[str]:
        await in_thread(self._empty_trash)
        gone = [id for id in os.listdir(self._containers) if id not in keep]
        for id in gone:
            await self.remove(id)
        for chain in os.listdir(self._layers):
            if chain != _EMPTY and not self._trusted(chain):
                await in_thread(partial(_delete, self._set_aside(chain)))
        for id in os.listdir(self._containers):
            await self._restore_layers(id)
        return gone

    async def _restore_layers(self, id: str) -> None:
        """Unpack again what a container needs of the layers that were not trusted."""
        chain = self._record(id, "chain")
        if self._is_whole(chain):
            return
        try:
            await self._ensure_layers(self._record(id, "image"))
        except EngineError as error:  # its image was removed by force: it cannot start, but can be looked at
            _log.error("layers of a container are lost", container=id[:12], error=str(error))

    async def prune(self, diff_ids: Collection[str]) -> None:
        async with self._unpacking:
            for chain in os.listdir(self._layers):
                if chain == _EMPTY or os.readlink(os.path.join(self._layers, chain, "diff")) in diff_ids:
                    continue
                if chain not in self._used():  # asked for each, because containers are made meanwhile
                    await in_thread(partial(_delete, self._set_aside(chain)))

    def _used(self) -> set[str]:
        return {link for id in os.listdir(self._containers) for link in self._stack(self._record(id, "chain"))}

    # Layers

    async def unpack_image(self, image_id: str) -> None:
        """Unpack an image's layers now, so that its first container need not wait. Raises as `prepare`."""
        await self._ensure_layers(image_id)

    async def _ensure_layers(self, image_id: str) -> str:
        """Unpack what is not there yet; the name of the topmost layer. One at a time: two would do the same twice."""
        layers = self._source.layers(image_id)
        if not layers:
            return _EMPTY
        top = chain_id([layer.diff_id for layer in layers]).removeprefix("sha256:")
        if self._is_whole(top):
            return top
        async with self._unpacking:
            below: list[str] = []
            new: list[str] = []
            for count, layer in enumerate(layers, 1):
                chain = chain_id([lower.diff_id for lower in layers[:count]]).removeprefix("sha256:")
                if not os.path.isdir(os.path.join(self._layers, chain)):
                    await in_thread(partial(self._unpack, layer, chain, below))
                    new.append(chain)
                below.insert(0, chain)
            # A thread that nobody waits for: a write-back of the whole disk may take seconds.
            threading.Thread(target=self._sync, args=(new,), name="layer-sync", daemon=True).start()
        return top

    def _unpack(self, layer: Layer, chain: str, below: Sequence[str]) -> None:
        new = os.path.join(self._trash, f"layer-{name_suffix()}")
        target = os.path.join(new, "fs")
        lowers = [os.path.join(self._layers, link, "fs") for link in below]
        try:
            os.mkdir(new, 0o700)
            os.mkdir(target)
            os.chmod(target, 0o755)
            with open_layer(layer) as stream:
                try:
                    unpack(LayerReader(stream.read), target, lowers)
                except (SnapshotError, ImageDocumentError) as error:
                    raise SnapshotError(f"layer {layer.diff_id[:19]}: {error}") from error
                if (found := stream.finish()) != layer.diff_id:
                    raise SnapshotError(f"layer {layer.diff_id}: its content has the digest {found}")
            os.symlink(layer.diff_id, os.path.join(new, "diff"))
            if below:
                os.symlink(below[0], os.path.join(new, "parent"))
            os.symlink(self._boot, os.path.join(new, "boot"))
            os.rename(new, os.path.join(self._layers, chain))
        except OSError as error:  # a full disk
            remove_tree(new)
            raise SnapshotError(f"layer {layer.diff_id[:19]}: it cannot be unpacked: {error.strerror}") from error
        except BaseException:
            remove_tree(new)
            raise

    def _sync(self, chains: Sequence[str]) -> None:
        os.sync()
        with self._marking:
            for chain in () if self._closed else chains:
                try:
                    os.symlink(self._boot, os.path.join(self._layers, chain, "synced"))
                except OSError as error:  # removed meanwhile
                    _log.debug("layer not marked as synced", chain=chain, error=error.strerror)

    def close(self) -> None:
        """Write nothing from now on (the root may be about to go). Mounts stay."""
        with self._marking:
            self._closed = True

    def _trusted(self, chain: str) -> bool:
        path = os.path.join(self._layers, chain)
        return os.path.lexists(os.path.join(path, "synced")) or os.readlink(os.path.join(path, "boot")) == self._boot

    def _set_aside(self, chain: str) -> str:
        """Take a layer away at once, so that whoever needs it from now on unpacks it anew; where it is deleted."""
        aside = os.path.join(self._trash, f"{chain}-{name_suffix()}")
        os.rename(os.path.join(self._layers, chain), aside)
        return aside

    def _is_whole(self, chain: str) -> bool:
        """Whether a layer and all below it are there: after a power cut any of them may have been discarded."""
        return all(os.path.isdir(os.path.join(self._layers, link)) for link in self._stack(chain))

    def _stack(self, chain: str) -> list[str]:
        """A layer and all below it, topmost first."""
        found = [chain]
        while True:
            try:
                found.append(os.readlink(os.path.join(self._layers, found[-1], "parent")))
            except FileNotFoundError:
                return found

    def _empty_trash(self) -> None:
        for name in os.listdir(self._trash):
            _delete(os.path.join(self._trash, name))

    def _path(self, id: str) -> str:
        if not id or "/" in id or id.startswith("."):
            raise SnapshotError(f"{id!r} is not a snapshot's id")
        return os.path.join(self._containers, id)

    def _record(self, id: str, name: str) -> str:
        try:
            return os.readlink(os.path.join(self._path(id), name))
        except FileNotFoundError:
            raise SnapshotError(f"there is no snapshot {id}") from None


def _delete(path: str) -> None:
    """Delete what lies in the trash; what cannot be, for now, is tried again at the next start.

    A privileged container can leave such: a file made immutable, a mount that came in from outside.
    """
    try:
        remove_tree(path)
    except OSError as error:
        _log.error("not all is deleted", path=path, error=str(error))


def _is_mounted(path: str) -> bool:
    """Whether an overlay is mounted there: it has a device number of its own."""
    try:
        return os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev
    except FileNotFoundError:
        return False


def _escape(path: str) -> str:
    # overlayfs.rst and fs_context: a comma ends an option, a colon a lower directory
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _mount_by_descriptors(root: str, options: str, lowers: Sequence[str]) -> None:
    """Mount with lower directories named by descriptor: 17 bytes each, so that 200 layers fit where names do not."""
    opened = [os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for lower in lowers]
    try:
        mount("overlay", root, "overlay", 0, options + ":".join(f"/proc/self/fd/{fd}" for fd in opened))
    finally:
        for fd in opened:
            os.close(fd)
