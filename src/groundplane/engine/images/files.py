"""Durable files: seen whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import tempfile

_NEW = ".new-"


def sweep_temporary(directory: str) -> None:
    """Delete what a crash left of `write_durably`. Only at start, before any writer."""
    for name in os.listdir(directory):
        if name.startswith(_NEW):
            os.unlink(os.path.join(directory, name))


def sync_directory(path: str) -> None:
    """Make the names in a directory durable (fsync(2): a file's own fsync does not cover its name)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `data` at once: temporary file, fsync, rename, fsync of the directory."""
    directory = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(prefix=_NEW, dir=directory)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fchmod(f.fileno(), mode)
            os.fsync(f.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(directory)
