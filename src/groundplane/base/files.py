"""Files that are seen whole or not at all, whatever is killed meanwhile.

    replace:  .NAME.new written ──► fsync where asked ──► rename over NAME ──► fsync of the directory where asked

A kill before the rename leaves `.NAME.new`. The next `replace` of the same file writes over it; a directory whose files
come and go is `sweep`t by its owner at start, before any writer.
"""

from __future__ import annotations

import os
from contextlib import suppress


def replace(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600, durable: bool) -> None:
    """Put `data` in the place of `path`; with `durable`, answered only once it survives a power cut. Raises OSError.

    One writer at a time for one path. The mode is the new file's from its first byte on, whatever the old one's was.
    """
    directory, name = os.path.split(path)
    beside = os.path.join(directory, f".{name}.new")
    with suppress(FileNotFoundError):
        os.unlink(beside)  # of a writer that was killed; its mode may be another
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)  # open(2) lets the umask take bits away
            file.write(data)
            file.flush()
            if durable:
                os.fsync(fd)
        os.rename(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    if durable:
        sync_directory(directory or ".")


def sync_directory(path: str) -> None:
    """Make the names in a directory durable (fsync(2): a file's own fsync does not cover its name)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(directory: str | os.PathLike[str]) -> None:
    """Delete what a kill left of `replace`. Only at start, before any writer."""
    for name in os.listdir(directory):
        if name.startswith(".") and name.endswith(".new"):
            os.unlink(os.path.join(directory, name))
