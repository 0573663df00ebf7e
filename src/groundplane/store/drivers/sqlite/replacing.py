"""Putting another file in a store's place: whole or not at all, whoever is killed, and the old one is kept.

    FILE.restoring   being built                 a kill here: swept, the store is as it was
    FILE.restored    whole, checked, durable     a kill from here on: whoever opens the store finishes the exchange
    FILE             the new one; the old one and its -wal are now FILE.replaced-TIME

The old write-ahead log must be gone before the new file takes the name, because SQLite would replay it into a file that
it does not belong to.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

from groundplane.base.files import sync_directory
from groundplane.store.contract import AlreadyThere, StoreError
from groundplane.store.drivers.sqlite import check, log

_BESIDE = ("", "-wal", "-shm", "-journal")


def settle(path: str) -> None:
    """Finish or clear away what a killed `replace` left. Only for who holds the store's lock. Raises OSError."""
    _unlink(path + ".restoring")
    if os.path.exists(path + ".restored"):
        _exchange(path)


def replace(path: str, backup: str, *, bump: int, aside: bool) -> tuple[int, int, str]:
    """Make the store at `path` what `backup` holds: its keys, its revision, and where an old store is now, or "".

    With `bump` its revision is that much higher and everything before is compacted, so that no revision that a client
    may have seen after the backup is given again, and every watch from before begins anew. An old store stays beside
    it where `aside` allows, else it is refused. Raises AlreadyThere, StoreError, StoreUnavailable.
    """
    lock = log.lock(path)
    try:
        with log.medium("cannot write", path):
            settle(path)
        if os.path.exists(path) and not aside:
            raise AlreadyThere(path)
        try:
            keys, revision = _build(path + ".restoring", backup, bump)
        except BaseException:
            _unlink(path + ".restoring")
            raise
        with log.medium("cannot write", path):
            os.rename(path + ".restoring", path + ".restored")
            sync_directory(os.path.dirname(path))
            return keys, revision, _exchange(path)
    finally:
        os.close(lock)


def _build(path: str, backup: str, bump: int) -> tuple[int, int]:
    with log.medium("cannot read the backup", backup):
        origin = sqlite3.connect(f"{log.uri(backup)}?mode=ro", uri=True, isolation_level=None)
        try:
            if not log.stored_format(origin):
                raise StoreError(f"store: {backup} is empty: no backup was made to it")
            with log.medium("cannot write", path):
                target = sqlite3.connect(path, isolation_level=None)
                try:
                    os.chmod(path, 0o600)
                    origin.backup(target)
                finally:
                    target.close()
        finally:
            origin.close()
    with log.medium("cannot write", path):
        db = log.connect(path, write=True)  # brings an older format up to this one
        try:
            keys, revision = _prepare(db, path, backup, bump)
        finally:
            db.close()  # the last connection takes the -wal into the file
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return keys, revision


def _prepare(db: sqlite3.Connection, path: str, backup: str, bump: int) -> tuple[int, int]:
    if found := check.problems(path):
        raise StoreError(f"store: {backup} is damaged: {found[0]}")
    revision = log.newest(db) + bump
    position: int | None = 0 if bump else None
    while position is not None:
        position = log.forget(db, revision, position, rows=100_000)
    [[keys]] = db.execute("SELECT count(*) FROM (SELECT max(revision) AS r FROM log GROUP BY key) AS n"
                          " JOIN log AS l ON l.revision = n.r WHERE NOT l.deleted").fetchall()  # fmt: skip
    return keys, revision


def _exchange(path: str) -> str:
    kept = ""
    if os.path.exists(path):
        built = os.stat(path + ".restored").st_mtime  # the same name again for who finishes after a kill
        kept = f"{path}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(built))}"
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                os.link(path + suffix, kept + suffix)
        sync_directory(os.path.dirname(path))
        for suffix in _BESIDE[1:]:
            _remove(path + suffix)
        sync_directory(os.path.dirname(path))
    os.rename(path + ".restored", path)
    sync_directory(os.path.dirname(path))
    return kept


def _unlink(path: str) -> None:
    for suffix in _BESIDE:
        _remove(path + suffix)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
