"""What must hold of a file, as questions in SQL; each answer is a sentence about what does not.

The file's pages and index (SQLite's own check), the log (no gap after what was compacted, each change on top of the one
before), the leases, and, where a running store asks, its memory against the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from groundplane.store.contract import Entry
from groundplane.store.drivers.sqlite import log
from groundplane.store.keys import prefix_end

_SHOWN = 10  # of each sort: a damaged file may have a million faults

# `oldest` and below are what compaction left of the past: living rows, maybe more where it was interrupted.
_LOG = {
    "revision {} changed revision {} of its key, but the one before it is {}": """
        SELECT l.revision, l.previous, coalesce(before.revision, 0) FROM log AS l LEFT JOIN log AS before
        ON before.revision = (SELECT max(k.revision) FROM log AS k WHERE k.key = l.key AND k.revision < l.revision)
        WHERE l.revision > :oldest AND l.previous <> iif(coalesce(before.deleted, 1), 0, before.revision)""",
    "revision {} says its key was created at {}, the one before it says {}": """
        SELECT l.revision, l.created, p.created FROM log AS l JOIN log AS p ON p.revision = l.previous
        WHERE l.revision > :oldest AND l.created <> p.created""",
    "revision {} creates its key and says it was created at {}": """
        SELECT revision, created FROM log WHERE revision > :oldest AND previous = 0 AND created <> revision""",
    "revision {} has created = {} and previous = {}, which cannot be": """
        SELECT revision, created, previous FROM log
        WHERE created > revision OR previous >= revision OR created < 1 OR (deleted AND previous = 0)""",
    "revision {} is a deletion with a value or a write without": """
        SELECT revision FROM log WHERE deleted = (value IS NOT NULL)""",
    "the key of revision {} hangs on lease {}, which is not there": """
        SELECT revision, lease FROM log WHERE lease NOT IN (SELECT number FROM lease) AND lease > 0 AND NOT deleted
        AND revision IN (SELECT max(revision) FROM log GROUP BY key)""",
}


def problems(path: str, newest: Mapping[str, Entry] | None = None, revision: int = 0) -> list[str]:
    """Read the file at `path`; where `newest` is given, it is what should be in there as of `revision`."""
    db: sqlite3.Connection | None = None
    try:
        db = log.connect(path)
        db.execute("BEGIN")
        found = [f"SQLite: {text}" for [text] in db.execute(f"PRAGMA integrity_check({_SHOWN})") if text != "ok"]
        return found or [*_of_the_log(db), *([] if newest is None else _of_memory(db, newest, revision))]
    except sqlite3.Error as error:
        return [f"the file cannot be read: {error}"]
    finally:
        if db is not None:
            db.close()


def _of_the_log(db: sqlite3.Connection) -> list[str]:
    oldest, newest = log.compacted(db), log.newest(db)
    [[kept]] = db.execute("SELECT count(*) FROM log WHERE revision > ?", (oldest,)).fetchall()
    found = []
    if kept != newest - oldest:
        found.append(f"{newest - oldest - kept} of the revisions {oldest + 1} to {newest} are missing")
    for sentence, question in _LOG.items():
        rows = db.execute(f"{question} LIMIT {_SHOWN}", {"oldest": oldest})
        found += [sentence.format(*row) for row in rows]
    return found


def _of_memory(db: sqlite3.Connection, newest: Mapping[str, Entry], revision: int) -> list[str]:
    """The running store's newest state against the file's, values too: neither medium nor memory is believed alone."""
    found, left = [], set(newest)
    for key, value, created, at in log.state(db, "", prefix_end(""), revision):
        entry = newest.get(key)
        left.discard(key)
        if entry is None or (entry.value, entry.created, entry.revision) != (value, created, at):
            found.append(f"key {key}, revision {at}: the file and the running store differ")
    found += [f"key {key} is in the running store and not in the file" for key in sorted(left)]
    return found[:_SHOWN]
