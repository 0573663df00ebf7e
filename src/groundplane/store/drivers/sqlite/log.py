"""The file: one table of changes, one row a revision, and what can be asked of it.

    log(revision, key, created, previous, deleted, value, lease)   PRIMARY KEY (revision), INDEX (key, revision)
    lease(number, seconds, left)                                   numbers are never given twice
    meta(name, value)                                              `compacted`: what was forgotten, as a revision

`created` is the revision that created the key; `previous` is the revision that this row replaced, 0 for a creation. A
deletion has no value: the last one is in the row that it replaced. `lease` is the one that the key was written with, 0
for none; `left` is how much of a lease's time was left when somebody last wrote it down. There is no second table for
the current state: the index finds the newest row of each key, and while the store runs the newest state is in memory
anyway; a second table would double what each commit writes.

Connections of this file run in the thread that made them; each reading is one transaction, so that a compaction in the
middle is either seen as a whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from groundplane.store.contract import Compacted, Entry, Event, EventType, Page, StoreUnavailable
from groundplane.store.keys import prefix_end

FORMAT = 2  # PRAGMA user_version of what is written here; 1 had no leases
APPLICATION = 0x67726E64  # PRAGMA application_id, "grnd": says whose file this is

_LEASES = "CREATE TABLE lease(number INTEGER PRIMARY KEY AUTOINCREMENT, seconds REAL NOT NULL, left REAL NOT NULL);"
_SCHEMA = f"""
CREATE TABLE log(revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, previous INTEGER NOT NULL,
                 deleted INTEGER NOT NULL, value BLOB, lease INTEGER NOT NULL DEFAULT 0);
CREATE INDEX log_key ON log(key, revision);
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('compacted', 0);
{_LEASES}
"""
_FROM_1 = f"ALTER TABLE log ADD COLUMN lease INTEGER NOT NULL DEFAULT 0; {_LEASES}"

# The newest row of each key in a range as of a revision: the index alone gives the inner query.
_AS_OF = """FROM (SELECT max(revision) AS r FROM log WHERE key >= ? AND key < ? AND revision <= ? GROUP BY key) AS n
JOIN log AS l ON l.revision = n.r WHERE NOT l.deleted"""

_EVENTS = """SELECT l.revision, l.key, l.deleted, l.value, p.revision, p.created, p.value
FROM log AS l LEFT JOIN log AS p ON p.revision = l.previous AND l.previous > 0
WHERE l.revision > ? AND l.revision <= ? AND +l.key >= ? AND +l.key < ? ORDER BY l.revision"""


_DAMAGED = "; it is damaged: restore a sound backup"
_ADVICE = {sqlite3.SQLITE_CORRUPT: _DAMAGED, sqlite3.SQLITE_NOTADB: _DAMAGED, sqlite3.SQLITE_FULL: "; make room there"}


@contextmanager
def medium(doing: str, path: str) -> Iterator[None]:
    """SQLite's errors about the medium as the contract's one."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"store: {doing} {path}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        # The low byte of an extended code is the primary one (https://sqlite.org/rescode.html).
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")
        raise StoreUnavailable(f"store: {doing} {path}: {error}{advice}") from error


def lock(path: str) -> int:
    """Become the only owner of the store at `path`; the descriptor that holds the lock. Raises StoreUnavailable.

    Two processes on one file would each trust their own memory; flock(2) ends with the process, however it ends.
    """
    with medium("cannot make", path):
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StoreUnavailable(f"store: {path} is in use by another process; stop that one first") from None
        except OSError:
            os.close(fd)
            raise
    return fd


def uri(path: str) -> str:
    """A path as SQLite reads it in a URI (https://sqlite.org/uri.html)."""
    return "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def connect(path: str, *, write: bool = False) -> sqlite3.Connection:
    """A connection of this thread. The writer's makes the file and its tables where they are missing."""
    if write:
        _make(path)
    db = sqlite3.connect(path, isolation_level=None, cached_statements=64, timeout=5.0)
    try:
        if write:
            _prepare(db, path)
        else:
            db.execute("PRAGMA query_only = 1")
    except BaseException:
        db.close()
        raise
    return db


def _make(path: str) -> None:
    """Create the file where it is missing, and refuse one that SQLite would take for a new one, though it is none."""
    # With its mode, because the values hold secrets; -wal and -shm take the mode of the file.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    # Below 512 bytes, the smallest page, SQLite sees no page at all, and throws a write-ahead log beside it away.
    if size < 512 and (size or (os.path.exists(path + "-wal") and os.path.getsize(path + "-wal"))):
        raise StoreUnavailable(f"store: {path} is damaged: it was cut to {size} bytes; restore a backup")


def _prepare(db: sqlite3.Connection, path: str) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # fsync of the WAL at each commit: answered means durable
    db.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB, because each checkpoint stalls the commit that meets it
    db.execute("PRAGMA journal_size_limit = 67108864")
    match stored_format(db):
        case 0:
            _become(db, _SCHEMA)
        case 1:
            _become(db, _FROM_1)
        case 2:
            pass
        case found:
            told = f"store: {path} has format {found} and this version reads {FORMAT}; use the version that wrote it"
            raise StoreUnavailable(told)


def stored_format(db: sqlite3.Connection) -> int:
    """0 for a file that is nobody's yet. Raises sqlite3.DatabaseError where it is somebody else's."""
    [[version]] = db.execute("PRAGMA user_version").fetchall()
    [[application]] = db.execute("PRAGMA application_id").fetchall()
    tables = {name for [name] in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = {"log", "meta"} <= tables and (application == APPLICATION or (application, version) == (0, 1))
    if not ours and (tables or version or application):
        raise sqlite3.DatabaseError("it is an SQLite database of some other program")
    return int(version)


def _become(db: sqlite3.Connection, statements: str) -> None:
    told = f"PRAGMA user_version = {FORMAT}; PRAGMA application_id = {APPLICATION};"
    try:
        db.executescript(f"BEGIN IMMEDIATE; {statements} {told} COMMIT;")
    except BaseException:
        rollback(db)
        raise


def compacted(db: sqlite3.Connection) -> int:
    for [revision] in db.execute("SELECT value FROM meta WHERE name = 'compacted'"):
        return int(revision)
    raise sqlite3.DatabaseError("the file is damaged: it does not say what was compacted")


def newest(db: sqlite3.Connection) -> int:
    """The newest revision: the last row's, or what was compacted where that row was a deletion and is gone."""
    [[last]] = db.execute("SELECT max(revision) FROM log").fetchall()
    return max(int(last or 0), compacted(db))


def living(db: sqlite3.Connection, known: Mapping[int, bytes]) -> tuple[list[Entry], dict[str, int]]:
    """Every living key's newest entry, and the leases of those that have one.

    `known` are values by revision that are in memory already, so that none is there twice.
    """
    rows = db.execute(
        "SELECT key, value, created, revision, lease FROM log WHERE NOT deleted"
        " AND revision IN (SELECT max(revision) FROM log GROUP BY key)"
    )
    entries, leased = [], {}
    for key, value, created, revision, lease in rows:
        entries.append(Entry(key, known.get(revision, value), created, revision))
        if lease:
            leased[key] = lease
    return entries, leased


def events(db: sqlite3.Connection, prefix: str, after: int, up_to: int) -> list[Event]:
    """The changes below `prefix` in (`after`, `up_to`], oldest first. Raises Compacted."""
    with _moment(db):
        _check(db, after)
        rows = db.execute(_EVENTS, (after, up_to, prefix, prefix_end(prefix))).fetchall()
    found, known = [], dict[int, bytes]()
    for revision, key, deleted, value, p_revision, p_created, p_value in rows:
        known[revision] = value
        if p_revision is None:
            found.append(Event(EventType.CREATE, key, value, revision, None))
            continue
        previous = Entry(key, known.get(p_revision, p_value), p_created, p_revision)
        if deleted:
            found.append(Event(EventType.DELETE, key, previous.value, revision, previous))
        else:
            found.append(Event(EventType.UPDATE, key, value, revision, previous))
    return found


def get(db: sqlite3.Connection, key: str, revision: int) -> Entry | None:
    """As of `revision`. Raises Compacted."""
    with _moment(db):
        _check(db, revision)
        row = db.execute(
            "SELECT deleted, key, value, created, revision FROM log WHERE key = ? AND revision <= ?"
            " ORDER BY revision DESC LIMIT 1",
            (key, revision),
        ).fetchone()
    return None if row is None or row[0] else Entry(*row[1:])


def state(db: sqlite3.Connection, start: str, end: str, revision: int) -> Iterator[tuple[str, bytes, int, int]]:
    """Key, value, created, revision of what lived in a range of keys as of `revision`; within the caller's moment."""
    return db.execute(f"SELECT l.key, l.value, l.created, l.revision {_AS_OF}", (start, end, revision))


def page(db: sqlite3.Connection, prefix: str, start: str, limit: int, revision: int) -> Page:
    """As of `revision`. Raises Compacted."""
    bounds = (max(prefix, start), prefix_end(prefix), revision)
    with _moment(db):
        _check(db, revision)
        rows = db.execute(
            f"SELECT l.key, l.value, l.created, l.revision {_AS_OF} ORDER BY l.key LIMIT ?", (*bounds, limit or -1)
        ).fetchall()
        total = len(rows)
        if limit and total == limit:
            [[total]] = db.execute(f"SELECT count(*) {_AS_OF}", bounds).fetchall()
    remaining = total - len(rows)
    return Page([Entry(*row) for row in rows], revision, remaining > 0, remaining)


def insert(db: sqlite3.Connection, rows: Sequence[tuple[Event, int]]) -> None:
    """Append changes, each with its lease or 0, and make them durable, all or none. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        done = 0
        while done < len(rows):
            # Few long statements instead of many short ones, because sqlite3 gives up the interpreter lock around
            # each step and must win it back from a busy event loop; powers of two, so that few are ever compiled.
            size = min(1 << (len(rows) - done).bit_length() - 1, 256)
            values = [cell for event, lease in rows[done : done + size] for cell in _row(event, lease)]
            db.execute(f"INSERT INTO log VALUES {','.join(['(?,?,?,?,?,?,?)'] * size)}", values)
            done += size
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise


def fill(
    db: sqlite3.Connection, entries: Sequence[Entry], revision: int, held: Sequence[tuple[float, float, Sequence[str]]]
) -> None:
    """Make an empty file the state as of `revision` with no history; `held` are leases: seconds, left, keys."""
    _become(db, _SCHEMA)
    db.execute("BEGIN")
    of: dict[str, int] = {}
    for seconds, left, keys in held:
        number = db.execute("INSERT INTO lease(seconds, left) VALUES(?, ?)", (seconds, left)).lastrowid or 0
        of.update(dict.fromkeys(keys, number))
    # Where the writing before was is forgotten with the history: a row that replaced something says so by `created`.
    rows = (
        (e.revision, e.key, e.created, 0 if e.created == e.revision else e.created, 0, e.value, of.get(e.key, 0))
        for e in entries
    )
    db.executemany("INSERT INTO log VALUES (?,?,?,?,?,?,?)", rows)
    db.execute("UPDATE meta SET value = ?", (revision,))
    db.execute("COMMIT")


def _row(event: Event, lease: int) -> tuple[int, str, int, int, int, bytes | None, int]:
    previous = event.previous
    if previous is None:
        return (event.revision, event.key, event.revision, 0, 0, event.value, lease)
    if event.type is EventType.DELETE:
        return (event.revision, event.key, previous.created, previous.revision, 1, None, 0)
    return (event.revision, event.key, previous.created, previous.revision, 0, event.value, lease)


def leases(db: sqlite3.Connection) -> list[tuple[int, float, float]]:
    """Number, seconds, seconds left of each."""
    return db.execute("SELECT number, seconds, left FROM lease").fetchall()


def grant(db: sqlite3.Connection, seconds: float) -> int:
    """A new lease's number."""
    return int(db.execute("INSERT INTO lease(seconds, left) VALUES(?, ?)", (seconds, seconds)).lastrowid or 0)


def save_left(db: sqlite3.Connection, left: Sequence[tuple[float, int]]) -> None:
    """Write down how much time is left of leases: pairs of seconds and number."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.executemany("UPDATE lease SET left = ? WHERE number = ?", left)
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise


def drop_lease(db: sqlite3.Connection, number: int) -> None:
    db.execute("DELETE FROM lease WHERE number = ?", (number,))


def rollback(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # SQLite has rolled back by itself after SQLITE_FULL and SQLITE_IOERR
        db.execute("ROLLBACK")


def forget(db: sqlite3.Connection, revision: int, after: int, rows: int = 1000) -> int | None:
    """One stretch of compaction up to `revision`: at most `rows` rows above `after`; where to go on, None at the end.

    A row goes when a newer one of its key, or its own being a deletion, makes it useless to the state as of `revision`.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("UPDATE meta SET value = ? WHERE name = 'compacted' AND value < ?", (revision, revision))
        [[end]] = db.execute(
            "SELECT max(revision) FROM"
            " (SELECT revision FROM log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?)",
            (after, revision, rows),
        ).fetchall()
        if end is not None:
            db.execute(
                "DELETE FROM log WHERE revision > ? AND revision <= ? AND (deleted OR EXISTS (SELECT 1 FROM log AS n"
                " WHERE n.key = log.key AND n.revision > log.revision AND n.revision <= ?))",
                (after, end, revision),
            )
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise
    return None if end is None or end >= revision else int(end)


@contextmanager
def _moment(db: sqlite3.Connection) -> Iterator[None]:
    """One read transaction."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        rollback(db)


def _check(db: sqlite3.Connection, revision: int) -> None:
    if revision < (oldest := compacted(db)):
        raise Compacted(revision, oldest)
