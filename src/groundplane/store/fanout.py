"""The watchers' queues: one event list in, the matching part of it into each watcher's bounded queue.

Watchers are found by their prefix, not asked one by one: for each length that any watched prefix has, the key's head of
that length is looked up, so that an event costs as many look-ups as there are lengths, however many watchers wait.

A watcher that does not fetch its events is dropped when `limit` of them wait: its memory is the store's, and a reader
that slow must list again anyway. `next` then raises Compacted, which makes the caller do just that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from groundplane.store.contract import Compacted, Event, StoreError, StoreUnavailable

QUEUE_LIMIT = 100_000


class FanOut:
    """The watches of one store."""

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self._limit = limit
        self._by_prefix: dict[str, set[QueueWatch]] = {}
        self._lengths: list[int] = []

    def add(self, prefix: str, after: int, backlog: Sequence[Event]) -> QueueWatch:
        """A watch that gives `backlog` (matching events after `after`) and then whatever is published."""
        watch = QueueWatch(self, prefix, after, backlog)
        self._by_prefix.setdefault(prefix, set()).add(watch)
        self._lengths = sorted({len(p) for p in self._by_prefix})
        return watch

    def publish(self, events: Sequence[Event]) -> None:
        """Queue `events`, oldest first, to whom they concern, and wake each of those once."""
        touched: set[QueueWatch] = set()
        for event in events:
            key = event.key
            for length in self._lengths:
                if length > len(key):
                    break
                if watches := self._by_prefix.get(key[:length]):
                    for watch in watches:
                        watch._queue.append(event)
                    touched |= watches
        for watch in touched:
            if len(watch._queue) > self._limit:
                self._drop(watch, events[-1].revision)
            watch._wake()

    def drop_all(self, oldest: int) -> None:
        """End every watch with Compacted: the driver missed what happened up to `oldest`."""
        for watch in [w for watches in self._by_prefix.values() for w in watches]:
            self._drop(watch, oldest)
            watch._wake()

    def _drop(self, watch: QueueWatch, current: int) -> None:
        watch._fail(Compacted(watch._seen, current))
        self.remove(watch)

    def remove(self, watch: QueueWatch) -> None:
        watches = self._by_prefix.get(watch._prefix)
        if watches is None:
            return
        watches.discard(watch)
        if not watches:
            del self._by_prefix[watch._prefix]
            self._lengths = sorted({len(p) for p in self._by_prefix})

    def close(self) -> None:
        """End every watch: `next` raises StoreUnavailable once the queue is read."""
        for watch in [w for watches in self._by_prefix.values() for w in watches]:
            watch._end(StoreUnavailable("store: closed"))
        self._by_prefix.clear()
        self._lengths = []

    def __len__(self) -> int:
        return sum(map(len, self._by_prefix.values()))


class QueueWatch:
    """A `contract.Watch`: a list of waiting events and, while somebody waits for one, a future."""

    def __init__(self, owner: FanOut, prefix: str, after: int, backlog: Sequence[Event]) -> None:
        self._owner = owner
        self._prefix = prefix
        self._seen = after
        self._queue: list[Event] = list(backlog)
        self._waiter: asyncio.Future[None] | None = None
        self._error: StoreError | None = None

    async def next(self) -> list[Event]:
        while not self._queue:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    def pending(self) -> list[Event]:
        if not self._queue and self._error is not None:
            raise self._error
        return self._take()

    def close(self) -> None:
        self._owner.remove(self)
        self._fail(StoreError("store: this watch was closed by its owner"))
        self._wake()

    def _take(self) -> list[Event]:
        events, self._queue = self._queue, []
        if events:
            self._seen = events[-1].revision
        return events

    def _fail(self, error: StoreError) -> None:
        """End at once: what was queued is lost to this watcher."""
        self._queue = []
        self._error = self._error or error

    def _end(self, error: StoreError) -> None:
        """End after what is queued."""
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
