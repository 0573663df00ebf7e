"""A layer's bytes on their way from the blob: decompressed, and hashed so that the diff id is checked."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from groundplane.engine.snapshots.contract import Layer, SnapshotError
from groundplane.oci.image import LAYER_COMPRESSION, ImageDocumentError


class HashingReader:
    """Reads through to a stream and keeps the digest of what went by."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._read(size)
        self._hash.update(data)
        return data

    def finish(self) -> str:
        """Read to the end (a tar may have padding behind its end mark); the digest of everything."""
        while self.read(1 << 20):
            pass
        return f"sha256:{self._hash.hexdigest()}"


@contextmanager
def open_layer(layer: Layer) -> Iterator[HashingReader]:
    """The layer's uncompressed tar. Raises SnapshotError; damage found inside the block becomes one too."""
    compression = LAYER_COMPRESSION.get(layer.media_type)
    if compression is None:
        raise SnapshotError(f"layer {layer.diff_id}: media type {layer.media_type!r} is not offered")
    damage: tuple[type[Exception], ...] = (EOFError, zlib.error)
    try:
        with open(layer.blob_path, "rb") as blob:
            if compression:
                opened, more = _gzip(blob) if compression == "gzip" else _zstd(blob)
                damage += more
                with opened:
                    yield HashingReader(opened.read)
            else:
                yield HashingReader(blob.read)
    except ImageDocumentError as error:
        raise SnapshotError(f"layer {layer.diff_id}: {error}") from error
    except FileNotFoundError as error:
        raise SnapshotError(f"layer {layer.diff_id}: its blob {error.filename} is missing") from error
    except damage as error:
        raise SnapshotError(f"layer {layer.diff_id}: its compressed data are damaged: {error}") from error


def _gzip(blob: BinaryIO) -> tuple[Any, tuple[type[Exception], ...]]:
    import gzip  # the decompressors are imported late: a layer made from this host needs none

    try:
        from isal import igzip, isal_zlib  # two to three times as fast as zlib
    except ImportError:  # no wheel for this architecture
        return gzip.GzipFile(fileobj=blob, mode="rb"), (gzip.BadGzipFile,)
    opened: Any = igzip.IGzipFile  # its stub has no types
    damage: Any = isal_zlib.IsalError
    return opened(fileobj=blob, mode="rb"), (gzip.BadGzipFile, damage)


def _zstd(blob: BinaryIO) -> tuple[Any, tuple[type[Exception], ...]]:
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdFile(blob, mode="r"), (zstd.ZstdError,)
