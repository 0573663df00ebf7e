"""One watch: which changes its client sees, in which words, and in which order.

A client that watches with a selector sees a world in which only matching objects exist: an object that begins to match
is ADDED, one that stops to match is DELETED (k8s.io/apiserver/pkg/storage/cacher/cache_watcher.go).

    Collection ──► offer ──► queue (bounded) ──► next ──► the edge
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from groundplane.apiserver.cache.collection import Change, Collection
from groundplane.apiserver.cache.stored import Object, Stored

# A client that leaves this many events unread is cut off and must list again; upstream's buffers are smaller.
LIMIT = 16384

Matcher = Callable[[Object], bool]


class Shown:
    """One event for one client: the word it is told, and the shared change behind it."""

    __slots__ = ("change", "stored", "type")

    def __init__(self, type_: str, change: Change | None, stored: Stored) -> None:
        self.type = type_
        self.change = change  # None: the initial state, which no change tells of
        self.stored = stored


class Bookmark:
    """`everything up to revision was sent`; `initial_end` marks the end of a streamed list."""

    __slots__ = ("initial_end", "revision")

    def __init__(self, revision: int, *, initial_end: bool = False) -> None:
        self.revision = revision
        self.initial_end = initial_end


class Refusal:
    """An ERROR event: the watch is over and `status` says why."""

    __slots__ = ("status",)

    def __init__(self, status: Object) -> None:
        self.status = status


Item = Shown | Bookmark | Refusal


class Watcher:
    """A queue of events below `prefix` that match; `matches` is None where everything does."""

    def __init__(self, collection: Collection, prefix: str, matches: Matcher | None) -> None:
        self._collection = collection
        self._prefix = "" if prefix == collection.prefix else prefix
        self._matches = matches
        self._queue: deque[Item] = deque()
        self._wake: asyncio.Future[None] | None = None
        self.closed = False
        self.bookmarks = False  # allowWatchBookmarks
        self.after = 0  # the revision asked for: what is not newer is not told, also where it is still to come
        self.deadline = 0.0  # the moment (monotonic) at which the server ends the watch

    def start(self, initial: list[Item], since: list[Change]) -> None:
        """Show `initial`, then the changes that happened `since`, then everything that happens from now on."""
        self._queue.extend(initial)
        for change in since:
            self._offer(change)
        self._collection.listen(self._offer, self.close)

    def add(self, item: Item) -> None:
        self._queue.append(item)
        self._woken()

    def _offer(self, change: Change) -> None:
        if change.revision <= self.after or (self._prefix and not change.key.startswith(self._prefix)):
            return
        word = change.type if self._matches is None else self._word(change, self._matches)
        if not word:
            return
        if len(self._queue) >= LIMIT:
            self.close()
            return
        self._queue.append(Shown(word, change, change.shown(word)))
        self._woken()

    def _word(self, change: Change, matches: Matcher) -> str:
        now = change.stored is not None and matches(change.stored.object)
        before = change.previous is not None and matches(change.previous.object)
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self, timeout: float) -> list[Item]:
        """All queued events; an empty list when `timeout` seconds brought none, or the watch was closed."""
        if not self._queue and not self.closed and timeout > 0:
            loop = asyncio.get_running_loop()
            self._wake = loop.create_future()
            timer = loop.call_later(timeout, self._woken)
            try:
                await self._wake
            finally:
                timer.cancel()
                self._wake = None
        items = list(self._queue)
        self._queue.clear()
        return items

    def close(self) -> None:
        """Stop; what is queued can still be read. Idempotent."""
        self.closed = True
        self._collection.unlisten(self._offer)
        self._woken()
