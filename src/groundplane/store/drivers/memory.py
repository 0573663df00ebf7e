"""The memory driver: the whole contract and nothing durable. For tests, and for clusters that live as long as a test.

A write happens between two awaits of the caller, so it needs no queue: check, take the next revision, apply, answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from groundplane.base.clock import Clock, SystemClock
from groundplane.store.contract import (
    Conflict,
    Entry,
    Event,
    EventType,
    FutureRevision,
    KeyExists,
    Page,
    Status,
    StoreUnavailable,
    Watch,
)
from groundplane.store.leases import Lease, Leases
from groundplane.store.view import Recent, View


class MemoryStore:
    """`contract.Store` in this process's memory, with the last `revisions`, and `size` bytes, of history (0: all)."""

    def __init__(self, revisions: int = 0, clock: Clock | None = None, *, size: int = 0) -> None:
        self._view = View((), 0, 0, Recent(0, limit=revisions, limit_bytes=size))
        self._closed = False
        self._leases = Leases(clock or SystemClock(), self._end)
        self._granted = itertools.count(1)

    @property
    def revision(self) -> int:
        return self._view.revision

    @property
    def shared(self) -> bool:
        return False

    async def sync(self) -> int:
        self._open()
        return self._view.revision

    async def create(self, key: str, value: bytes, *, lease: int = 0) -> int:
        self._open()
        if key in self._view.entries:
            raise KeyExists(key)
        return self._write(EventType.CREATE, key, value, None, lease)

    async def update(self, key: str, value: bytes, expected: int, *, lease: int = 0) -> int:
        return self._write(EventType.UPDATE, key, value, self._expect(key, expected), lease)

    async def delete(self, key: str, expected: int) -> int:
        previous = self._expect(key, expected)
        return self._write(EventType.DELETE, key, previous.value, previous)

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        self._open()
        if not revision:
            return self._view.entries.get(key)
        self._view.check(revision)
        return self._view.get(key, revision)

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._open()
        if not revision:
            return self._view.newest_page(prefix, start, limit)
        self._view.check(revision)
        return self._view.page_at(prefix, start, limit, revision)

    async def count(self, prefix: str) -> int:
        self._open()
        return self._view.count(prefix)

    def watch(self, prefix: str, after: int) -> Watch:
        self._open()
        self._view.check(after)
        return self._view.watch(prefix, after)

    async def compact(self, revision: int) -> None:
        self._open()
        if revision > self._view.revision:
            raise FutureRevision(revision, self._view.revision)
        if revision > self._view.oldest:
            self._view.oldest = revision
            self._view.recent.forget(revision)

    async def grant(self, seconds: float) -> int:
        self._open()
        seconds = max(1.0, seconds)
        return self._leases.add(next(self._granted), seconds, seconds).number

    async def keep_alive(self, lease: int) -> None:
        self._open()
        self._leases.renew(self._leases.living(lease))

    async def revoke(self, lease: int) -> None:
        self._open()
        await self._leases.revoke(lease)

    async def status(self) -> Status:
        self._open()
        return Status("memory", self._view.revision, self._view.oldest, len(self._view.entries), 0)

    async def check(self) -> Sequence[str]:
        self._open()
        return self._view.problems()

    async def backup(self, path: str) -> int:
        from groundplane.store import backups  # late: who keeps everything in memory needs no SQLite until then

        self._open()
        leases = [backups.Held(x.seconds, self._leases.left(x), list(x.keys)) for x in self._leases.all()]
        return await backups.write(path, list(self._view.entries.values()), self._view.revision, leases)

    async def close(self) -> None:
        self._closed = True
        await self._leases.stop()
        self._view.watchers.close()

    async def _end(self, lease: Lease) -> None:
        for key in sorted(lease.keys):
            previous = self._view.entries[key]
            self._write(EventType.DELETE, key, previous.value, previous)
        self._leases.forget(lease)

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable("store: closed")

    def _expect(self, key: str, expected: int) -> Entry:
        self._open()
        current = self._view.entries.get(key)
        if current is None or current.revision != expected:
            raise Conflict(key, expected, current)
        return current

    def _write(self, kind: EventType, key: str, value: bytes, previous: Entry | None, lease: int = 0) -> int:
        if lease:
            self._leases.living(lease)
        event = Event(kind, key, value, self._view.revision + 1, previous)
        self._leases.follow(event, lease)
        self._view.apply([event])
        self._view.oldest = self._view.recent.floor
        return event.revision
