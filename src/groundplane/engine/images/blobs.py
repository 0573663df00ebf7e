"""Content-addressed blobs: a file is named by its SHA-256, so a name that exists is a content that is right.

A blob is written to `ingest/` and renamed into place once its digest is known and its bytes are on the disk; a crash
leaves only files in `ingest/`, which the next start deletes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from groundplane.base.files import sync_directory
from groundplane.engine.contract import EngineError
from groundplane.oci.image import check_digest


class BlobError(EngineError):
    """A blob is missing, or its bytes are not what its digest says."""


class BlobWriter:
    """A blob on its way in: `write` its bytes, then `commit`. Used through `Blobs.writer`."""

    def __init__(self, file: BinaryIO, path: str, directory: str) -> None:
        self._file = file
        self._path = path
        self._directory = directory
        self._hash = hashlib.sha256()
        self.size = 0
        self.digest = ""  # once committed

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def commit(self, expected: str = "") -> str:
        """Put the blob in its place, durably; its digest. Raises BlobError where `expected` is another one."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if expected and digest != expected:
            raise BlobError(f"blob {expected}: the bytes that came have the digest {digest}")
        self._file.flush()
        os.fchmod(self._file.fileno(), 0o644)
        os.fsync(self._file.fileno())
        os.rename(self._path, os.path.join(self._directory, digest.removeprefix("sha256:")))
        sync_directory(self._directory)
        self.digest = digest
        return digest


class Blobs:
    """The blobs below one directory. Safe from several threads: each blob has a file of its own until it is whole."""

    def __init__(self, root: str) -> None:
        self._directory = os.path.join(root, "blobs", "sha256")
        self._ingest = os.path.join(root, "ingest")
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        os.makedirs(self._ingest, mode=0o700, exist_ok=True)

    def path(self, digest: str) -> str:
        return os.path.join(self._directory, check_digest(digest, "blob").removeprefix("sha256:"))

    def has(self, digest: str) -> bool:
        return os.path.exists(self.path(digest))

    def size(self, digest: str) -> int:
        return os.stat(self.path(digest)).st_size

    def read(self, digest: str, *, limit: int) -> bytes:
        """A small blob (a document), verified. Raises BlobError."""
        try:
            with open(self.path(digest), "rb") as f:
                data = f.read(limit + 1)
        except FileNotFoundError:
            raise BlobError(f"blob {digest}: it is not in this store") from None
        if len(data) > limit:
            raise BlobError(f"blob {digest}: it is larger than the {limit} bytes that such a document may have")
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise BlobError(f"blob {digest}: its bytes on the disk have changed; remove its image and make it again")
        return data

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """A new blob; it vanishes unless it is committed inside the block."""
        fd, path = tempfile.mkstemp(dir=self._ingest)
        with os.fdopen(fd, "wb") as file:
            writer = BlobWriter(file, path, self._directory)
            try:
                yield writer
            finally:
                if not writer.digest:
                    os.unlink(path)

    def put(self, data: bytes) -> str:
        """Store a small blob; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.has(digest):
            with self.writer() as writer:
                writer.write(data)
                writer.commit()
        return digest

    def sweep(self) -> None:
        """Delete what a crash left half-written. Only at start, before any writer."""
        for name in os.listdir(self._ingest):
            os.unlink(os.path.join(self._ingest, name))

    def keep_only(self, digests: Collection[str]) -> list[str]:
        """Delete all other blobs; the digests that went."""
        gone = [f"sha256:{name}" for name in os.listdir(self._directory) if f"sha256:{name}" not in digests]
        for digest in gone:
            os.unlink(self.path(digest))
        return gone
