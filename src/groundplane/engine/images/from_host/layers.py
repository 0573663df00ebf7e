"""A tree becomes a layer: a tar, in the order of names, the same bytes for the same files.

A layer that was made before of the same files (by device, inode, size and times) is not made again: `cache/` keeps
its digest by the fingerprint of the tree.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from groundplane.engine.images.blobs import Blobs, BlobWriter
from groundplane.engine.images.from_host.contract import FromHostError
from groundplane.engine.images.from_host.tree import Node, Tree
from groundplane.oci.image import LAYER_TAR, Descriptor
from groundplane.oci.image_layer import Entry, Kind, encode_header, end_of_archive, padding

_FORM = b"layer-1"  # of the fingerprint and the tar; another form must not find old entries
_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Digests of layers by fingerprint, one small file each. Losing one costs time, never truth."""

    directory: str

    def get(self, fingerprint: str, blobs: Blobs) -> Descriptor | None:
        try:
            with open(os.path.join(self.directory, fingerprint), encoding="ascii") as f:
                digest = f.read()
        except FileNotFoundError:
            return None
        if digest.count(":") != 1 or not blobs.has(digest):
            os.unlink(os.path.join(self.directory, fingerprint))
            return None
        return Descriptor(LAYER_TAR, digest, blobs.size(digest))

    def prune(self, blobs: Blobs) -> None:
        """Forget layers that went with their images, and what a crash left half-written."""
        if not os.path.isdir(self.directory):
            return
        for name in os.listdir(self.directory):
            if name.startswith("."):
                os.unlink(os.path.join(self.directory, name))
            else:
                self.get(name, blobs)

    def put(self, fingerprint: str, digest: str) -> None:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        with open(os.path.join(self.directory, f".{fingerprint}"), "w", encoding="ascii") as f:
            f.write(digest)
        os.rename(f.name, os.path.join(self.directory, fingerprint))


def make_layer(tree: Tree, blobs: Blobs, cache: LayerCache, epoch: int | None) -> Descriptor:
    """The layer of a tree, made or remembered. No time in it is after `epoch`. Raises FromHostError."""
    paths = sorted(tree.nodes)  # a directory's name is a prefix of what is in it, so it comes first
    fingerprint = _fingerprint(tree, paths, epoch)
    if (known := cache.get(fingerprint, blobs)) is not None:
        return known
    with blobs.writer() as writer:
        for path in paths:
            _write(writer, path, tree.nodes[path], epoch)
        writer.write(end_of_archive())
        digest = writer.commit()
    cache.put(fingerprint, digest)
    return Descriptor(LAYER_TAR, digest, writer.size)


def newest(tree: Tree, epoch: int | None) -> int:
    """The latest time in a tree: when the image was made, as far as its content tells."""
    latest = max((node.mtime for node in tree.nodes.values()), default=0)
    return latest if epoch is None else min(latest, epoch)


def _fingerprint(tree: Tree, paths: list[str], epoch: int | None) -> str:
    found = hashlib.sha256(_FORM + str(epoch).encode())
    for path in paths:
        node = tree.nodes[path]
        content = node.stamp or node.data
        facts = f"{path}\0{node.kind.value!r} {node.mode} {node.mtime} {node.link}\0{content!r}\n"
        found.update(facts.encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _write(writer: BlobWriter, path: str, node: Node, epoch: int | None) -> None:
    entry = Entry(
        name=path,
        kind=node.kind,
        mode=node.mode,
        size=node.size,
        mtime=node.mtime if epoch is None else min(node.mtime, epoch),
        link=node.link,
        xattrs=_capability(node),
    )
    writer.write(encode_header(entry))
    if node.kind is not Kind.FILE:
        return
    if node.source:
        _copy(writer, node)
    else:
        writer.write(node.data)
    writer.write(padding(node.size))


def _capability(node: Node) -> dict[str, bytes]:
    """File capabilities (ping's) are what a program may do; no other attribute of the host travels."""
    if node.kind is not Kind.FILE or not node.source or not node.mode & 0o111:
        return {}
    try:
        return {_CAPABILITY: os.getxattr(node.source, _CAPABILITY, follow_symlinks=False)}
    except OSError:  # it has none, or its file system has no attributes
        return {}


def _copy(writer: BlobWriter, node: Node) -> None:
    """The file's content, if it is still the file that was planned. Raises FromHostError."""
    try:
        # O_NONBLOCK, because a pipe may have taken the file's place since
        fd = os.open(node.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FromHostError(f"{node.source}: it vanished while the image was made: {error.strerror}") from error
    try:
        left = node.size
        while left and (piece := os.read(fd, min(left, 1 << 20))):
            writer.write(piece)
            left -= len(piece)
        found = os.fstat(fd)
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if left or stamp != node.stamp:
            raise FromHostError(f"{node.source}: it changed while the image was made; try again")
    finally:
        os.close(fd)
