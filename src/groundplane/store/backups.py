"""Backups: one file, everything as of one moment, in the sqlite driver's format; made while writes go on.

    copy    a store's file, history and all, through SQLite's own page copy, which reads one moment of the WAL
    write   the newest state of a driver that has no file

Both write `.NAME.new` beside the wanted file and give it its name once it is whole and durable, so a file with the
wanted name is a good one. A killed writer's leftover is taken over by the next backup of the same name; a running
store's is also swept when the store opens again, because `copy` leaves a note beside the store.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from groundplane.base.files import sync_directory
from groundplane.base.tasks import in_thread
from groundplane.store.contract import Entry, StoreError
from groundplane.store.drivers.sqlite import log

_NOTE = ".backup-"


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in a backup."""

    seconds: float
    left: float
    keys: Sequence[str]


def copy(source: str, path: str) -> int:
    """Copy the store's file `source`, in use or not, to the new file `path`; the newest revision in it. Blocking.

    Raises StoreError where `path` exists, StoreUnavailable where the medium refuses.
    """
    path = os.path.abspath(path)
    with _noted(source, path), _new_file(path) as beside, log.medium("cannot copy", source):
        origin = sqlite3.connect(f"{log.uri(source)}?mode=ro", uri=True, isolation_level=None)
        target = sqlite3.connect(beside, isolation_level=None)
        try:
            target.execute("PRAGMA synchronous = OFF")  # `_new_file` syncs it once, before it gets its name
            target.execute("PRAGMA journal_mode = OFF")
            origin.execute("BEGIN")
            revision = log.newest(origin)
            origin.backup(target)  # in one step: a second one would begin again after any write in between
        finally:
            target.close()
            origin.close()
        _stand_alone(beside)
        return revision


def _stand_alone(path: str) -> None:
    """Make a copy of a file in WAL mode one that is read without a -wal beside it (fileformat2.html, offset 18).

    By hand, because `PRAGMA journal_mode` would open it in WAL mode first, and a kill leave a -wal and a -shm behind.
    """
    with open(path, "r+b") as file:
        file.seek(18)
        file.write(b"\1\1")


async def write(path: str, entries: Sequence[Entry], revision: int, leases: Sequence[Held] = ()) -> int:
    """Write the state as of `revision` to the new file `path`; `revision`. Raises StoreError, StoreUnavailable."""
    path = os.path.abspath(path)

    def work() -> None:
        with _new_file(path) as beside, log.medium("cannot write", path):
            db = sqlite3.connect(beside, isolation_level=None)
            try:
                db.execute("PRAGMA synchronous = OFF")
                db.execute("PRAGMA journal_mode = OFF")
                log.fill(db, entries, revision, [(held.seconds, held.left, held.keys) for held in leases])
            finally:
                db.close()

    await in_thread(work)
    return revision


def sweep(source: str) -> None:
    """Delete what killed backups of `source` left, wherever it is. Only for who holds the lock. Raises OSError."""
    for note in glob.glob(glob.escape(source) + _NOTE + "*"):
        with contextlib.suppress(OSError):
            for name in ("", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.readlink(note) + name)
        os.unlink(note)


@contextlib.contextmanager
def _noted(source: str, path: str) -> Iterator[None]:
    """A link beside the store that tells `sweep` of the file being written."""
    note = os.path.abspath(source) + _NOTE + secrets.token_hex(4)
    with log.medium("cannot write", note):
        os.symlink(_beside(path), note)
    try:
        yield
    finally:
        os.unlink(note)


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[str]:
    """An empty file to write, by name. It becomes `path`, durable, where the block ends well, and is deleted else."""
    beside = _beside(path)
    if os.path.lexists(path):
        raise _exists(path)
    with log.medium("cannot write", path):
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _own(fd, beside, path)
        try:
            yield beside
            _publish(fd, beside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
    finally:
        os.close(fd)


def _own(fd: int, beside: str, path: str) -> None:
    """Be the only writer of this backup, and begin with an empty private file, whatever a killed one left."""
    with log.medium("cannot write", path):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.stat(beside).st_ino == os.fstat(fd).st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise StoreError(f"store: somebody else is writing a backup to {path}")
        os.ftruncate(fd, 0)
        os.fchmod(fd, 0o600)


def _publish(fd: int, beside: str, path: str) -> None:
    with log.medium("cannot write", path):
        os.fsync(fd)
        try:
            os.link(beside, path)  # refuses to replace a file, which rename(2) would not
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise
            os.rename(beside, path)  # link(2): some file systems (vfat) have no hard links
        sync_directory(os.path.dirname(path))


def _exists(path: str) -> StoreError:
    return StoreError(f"store: {path} exists, and a backup replaces nothing; give another name")


def _beside(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.new")
