"""The work queue of every loop: client-go's `util/workqueue` semantics on one event loop.

A key that is added while it waits is there once. A key that is added while a worker has it is handed out again only
after that worker said `done`: no two workers ever hold the same key, and no change is missed.

    key = await queue.get()          # raises QueueClosed after shut_down, when all is handed out
    try: … queue.forget(key)         # or queue.add_rate_limited(key) after a failure
    finally: queue.done(key)
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from groundplane.base.clock import Clock
from groundplane.base.tasks import Tasks

K = TypeVar("K", bound=Hashable)

# client-go util/workqueue DefaultTypedControllerRateLimiter: 5 ms doubled per failure, at most 1000 s.
BASE_DELAY = 0.005
MAX_DELAY = 1000.0


class QueueClosed(Exception):
    """The queue was shut down and everything in it has been handed out."""


class WorkQueue(Generic[K]):
    """Deduplicating queue with delayed and rate-limited adds. Used from one event loop."""

    def __init__(
        self, clock: Clock, name: str = "queue", *, base_delay: float = BASE_DELAY, max_delay: float = MAX_DELAY
    ):
        self._clock = clock
        self._base, self._max = base_delay, max_delay
        self._waiting: deque[K] = deque()
        self._dirty: set[K] = set()  # must be worked on, whether waiting or in a worker's hands
        self._held: set[K] = set()  # in a worker's hands
        self._getters: deque[asyncio.Future[None]] = deque()
        self._failures: dict[K, int] = {}
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._delayed: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}  # the earliest moment asked for; later duplicates in the heap are stale
        self._order = itertools.count()
        self._tasks = Tasks(name)
        self._timer: asyncio.Task[None] | None = None
        self._timer_at = 0.0

    def add(self, key: K) -> None:
        """Mark `key` as needing work now."""
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        self._idle.clear()
        if key not in self._held:
            self._waiting.append(key)
            self._wake()

    async def get(self) -> K:
        """The next key, now in the caller's hands until `done`. Raises QueueClosed."""
        while not self._waiting:
            if self._closed:
                raise QueueClosed
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # the wake-up meant for this caller goes to the next one
                raise
        key = self._waiting.popleft()
        self._dirty.discard(key)
        self._held.add(key)
        return key

    def done(self, key: K) -> None:
        """The caller's work on `key` ended; if it was added meanwhile, it is handed out again."""
        self._held.discard(key)
        if key in self._dirty:
            self._waiting.append(key)
            self._wake()
        elif not self._held and not self._dirty:
            self._idle.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Add `key` once `seconds` have passed; of several pending delays of one key the earliest counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if (known := self._due.get(key)) is not None and known <= due:
            return
        self._due[key] = due
        heapq.heappush(self._delayed, (due, next(self._order), key))
        self._arm()

    def add_rate_limited(self, key: K) -> None:
        """Add `key` after its own back-off, which doubles with every call until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(self._base * 2.0 ** min(failures, 60), self._max))

    def forget(self, key: K) -> None:
        """`key` succeeded: its back-off starts from the beginning again."""
        self._failures.pop(key, None)

    def requeues(self, key: K) -> int:
        """How often `key` was rate limited since the last `forget`."""
        return self._failures.get(key, 0)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_quiet(self) -> bool:
        """Nothing waits and no worker holds a key (delays may be pending)."""
        return self._idle.is_set()

    async def quiet(self) -> None:
        """Return once nothing waits and no worker holds a key."""
        await self._idle.wait()

    async def shut_down(self, *, drain: bool = False) -> None:
        """Take no more adds; with `drain`, return only when what was there has been worked on."""
        self._closed = True
        self._delayed.clear()
        self._due.clear()
        await self._tasks.stop()
        if drain:
            await self._idle.wait()
        while self._getters:
            self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _arm(self) -> None:
        """See that the timer fires at the earliest due moment."""
        due = self._delayed[0][0]
        if self._timer is not None and not self._timer.done():
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._tasks.start("delays", self._fire())

    async def _fire(self) -> None:
        while self._delayed:
            due = self._delayed[0][0]
            self._timer_at = due
            if (left := due - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)
                continue
            _, _, key = heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
