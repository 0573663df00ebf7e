"""Moving everything: a backup into a store, and the store of one driver into another's.

    restore   backup ──► a sqlite file (beside its place, then exchanged), or an empty store of another driver
    migrate   a stopped store ──backup──► the same two ways

Clients remember revisions: as resource versions of objects, and as the place where their watch goes on. A restored
store must therefore give no revision again that its former self gave after the backup. etcd's own tool has
`etcdutl snapshot restore --bump-revision N --mark-compacted` for it, and its documentation's N, a thousand million, is
1,500 writes a second for a week: the same is done here, always. A driver whose revisions cannot be set (etcd's, over
its API) is written to until its revision has passed the old one, where that is near enough; `Moved.behind` says where
it was not, and then every client must be started anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from groundplane.base.tasks import in_thread
from groundplane.store.contract import Entry, Store, StoreError
from groundplane.store.drivers.sqlite import log, replacing
from groundplane.store.registry import open_store

BUMP = 1_000_000_000
UNFINISHED = "/groundplane/unfinished-restore"
_FILLER = "/groundplane/filler/"
_NEAR = 250_000  # revisions that are written only to be passed: a minute or so on etcd
_AT_ONCE = 128

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved. `kept` is where a replaced store is now; `behind` by how much the revision is too low."""

    keys: int
    revision: int
    kept: str = ""
    behind: int = 0


async def restore(backup: str, url: str, *, aside: bool = False) -> Moved:
    """Make the store at `url`, which nobody has open, what `backup` holds.

    A sqlite store that exists is refused, or kept aside; another driver's must be empty. Raises StoreError,
    StoreUnavailable; nothing has changed then.
    """
    if path := _file(url):
        return Moved(*await in_thread(partial(replacing.replace, path, backup, bump=BUMP, aside=aside)))
    with tempfile.TemporaryDirectory(prefix="ground-restore-") as directory:
        copy = f"{directory}/store"
        await in_thread(partial(replacing.replace, copy, backup, bump=0, aside=False))
        return await _pour(copy, url)


async def migrate(source: str, target: str) -> Moved:
    """Copy the store at `source`, to which nobody writes, to `target`, which must be new (sqlite) or empty.

    The source stays as it is. Raises StoreError, StoreUnavailable; nothing has changed then.
    """
    if (path := _file(source)) and not os.path.exists(path):
        raise StoreError(f"store: there is no store at {path}")
    beside = os.path.dirname(_file(target)) or None
    if beside:
        os.makedirs(beside, mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ground-migrate-", dir=beside) as directory:
        store = await open_store(source)
        try:
            watch = store.watch("", await store.backup(f"{directory}/backup"))
            await store.sync()
            if watch.pending():
                raise StoreError(f"store: somebody writes to {source} while it is copied; stop them first")
        finally:
            await store.close()
        if path := _file(target):
            keys, at, _ = await in_thread(
                partial(replacing.replace, path, f"{directory}/backup", bump=0, aside=False)
            )  # nobody wrote after the backup, so no revision can come twice
            return Moved(keys, at)
        return await _pour(f"{directory}/backup", target)


def _file(url: str) -> str:
    """The file of a sqlite url, "" for another driver's."""
    scheme, _, rest = url.partition(":")
    return os.path.abspath(rest) if scheme == "sqlite" and rest else ""


async def _pour(backup: str, url: str) -> Moved:
    """A backup into an empty store, through the contract."""
    entries, leases, leased, before = await in_thread(partial(_contents, backup))
    store = await open_store(url)
    try:
        await _emptied(store, url)
        mark = await store.create(UNFINISHED, b"")
        numbers = {number: await store.grant(left) for number, left in leases.items()}
        for some in _parts(entries):
            leases_of = [numbers.get(leased.get(e.key, 0), 0) for e in some]
            await asyncio.gather(*(store.create(e.key, e.value, lease=n) for e, n in zip(some, leases_of, strict=True)))
        behind = await _pass(store, before)
        await store.compact(await store.delete(UNFINISHED, mark))
        return Moved(len(entries), store.revision, behind=behind)
    finally:
        await store.close()


async def unfinished(store: Store) -> bool:
    """Whether a restore into this store was killed: nobody should use what is there."""
    return await store.get(UNFINISHED) is not None


async def _emptied(store: Store, url: str) -> None:
    """Refuse a store that has keys, but clear away what a killed restore left there. Raises StoreError."""
    mark = await store.get(UNFINISHED)
    if mark is None:
        if count := await store.count(""):
            told = "an empty one is needed: name another prefix, or remove these keys first (etcdctl del --prefix)"
            raise StoreError(f"store: {url} has {count} keys already; {told}")
        return
    left = (await store.list("")).entries
    for some in _parts([e for e in left if e.key != UNFINISHED]):
        await asyncio.gather(*(store.delete(e.key, e.revision) for e in some))
    await store.delete(UNFINISHED, mark.revision)


def _parts(everything: Sequence[T]) -> Iterator[Sequence[T]]:
    return (everything[at : at + _AT_ONCE] for at in range(0, len(everything), _AT_ONCE))


async def _pass(store: Store, before: int) -> int:
    """Write until the store's revision is at least `before`; by how much it is too low where that is too far."""
    missing = before - store.revision
    if missing > _NEAR:
        return missing
    while store.revision < before:
        some = [f"{_FILLER}{n}" for n in range(_AT_ONCE)]
        revisions = await asyncio.gather(*(store.create(key, b"") for key in some))
        await asyncio.gather(*(store.delete(key, at) for key, at in zip(some, revisions, strict=True)))
    return 0


def _contents(path: str) -> tuple[list[Entry], dict[int, float], dict[str, int], int]:
    """Entries, seconds left of each lease, which key has which, the newest revision."""
    with log.medium("cannot read", path):
        db = sqlite3.connect(f"{log.uri(path)}?mode=ro", uri=True)
        try:
            entries, leased = log.living(db, {})
            leases = {number: left for number, _, left in log.leases(db)}
            return entries, leases, leased, log.newest(db)
        finally:
            db.close()
