"""The memory driver: the whole contract and nothing durable. For tests, and for clusters that live as long as a test.

A write happens between two awaits of the caller, so it needs no queue: check, take the next revision, apply, answer.
"""

from __future__ import annotations

from groundplane.store.contract import (
    Conflict,
    Entry,
    Event,
    EventType,
    FutureRevision,
    KeyExists,
    Page,
    StoreUnavailable,
    Watch,
)
from groundplane.store.view import Recent, View


class MemoryStore:
    """`contract.Store` in this process's memory, with the last `revisions` (0: all) of history."""

    def __init__(self, revisions: int = 0) -> None:
        self._view = View((), 0, 0, Recent(0, limit=revisions))
        self._closed = False

    @property
    def revision(self) -> int:
        return self._view.revision

    async def create(self, key: str, value: bytes) -> int:
        self._open()
        if key in self._view.entries:
            raise KeyExists(key)
        return self._write(EventType.CREATE, key, value, None)

    async def update(self, key: str, value: bytes, expected: int) -> int:
        return self._write(EventType.UPDATE, key, value, self._expect(key, expected))

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

    async def close(self) -> None:
        self._closed = True
        self._view.watchers.close()

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable("store: closed")

    def _expect(self, key: str, expected: int) -> Entry:
        self._open()
        current = self._view.entries.get(key)
        if current is None or current.revision != expected:
            raise Conflict(key, expected, current)
        return current

    def _write(self, kind: EventType, key: str, value: bytes, previous: Entry | None) -> int:
        revision = self._view.revision + 1
        self._view.apply([Event(kind, key, value, revision, previous)])
        self._view.oldest = self._view.recent.floor
        return revision
