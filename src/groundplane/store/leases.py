"""Leases as a driver without a server keeps them: which live, until when, and which keys hang on each.

Time runs only while the store runs, because nobody can be heard while it is closed: etcd starts every lease anew when a
leader takes over (`lessor.Promote`) for the same reason. A driver that is durable tells at `add` how much time is left.

    add ──► living ──(its time ran out, or revoke)──► ended ──(all keys deleted, `forget`)──► gone
                ▲────────────(revoke failed)────────────┘

An ended lease takes no key and no renewal. Each lease has a task that waits for its end; `end` is the driver's, deletes
the keys, and is asked again where the medium refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.store.contract import Event, EventType, NoSuchLease, StoreUnavailable

_RETRY = 5.0  # seconds until a medium that refused the deletions is asked again
_log = Log("store.leases")


class Lease:
    """One lease. `ends` is a monotonic time; `saved` is what a durable driver has written down of the time left."""

    __slots__ = ("ended", "ends", "keys", "number", "saved", "seconds", "waiting")

    def __init__(self, number: int, seconds: float, left: float, now: float) -> None:
        self.number = number
        self.seconds = seconds
        self.ends = now + left
        self.saved = left
        self.keys: set[str] = set()
        self.ended = False
        self.waiting: asyncio.Task[None] | None = None


class Leases:
    """The leases of one store, and who ends them."""

    def __init__(self, clock: Clock, end: Callable[[Lease], Awaitable[None]]) -> None:
        self._clock = clock
        self._end = end
        self._tasks = Tasks("store.leases")
        self._by_number: dict[int, Lease] = {}
        self._of: dict[str, Lease] = {}

    def add(self, number: int, seconds: float, left: float) -> Lease:
        lease = Lease(number, seconds, left, self._clock.monotonic())
        self._by_number[number] = lease
        self._wait_for(lease)
        return lease

    def living(self, number: int) -> Lease:
        """The lease. Raises NoSuchLease, also where its time is up and its task has not come to run yet."""
        lease = self._by_number.get(number)
        if lease is None or lease.ended or not self.left(lease):
            raise NoSuchLease(number)
        return lease

    def renew(self, lease: Lease) -> None:
        lease.ends = self._clock.monotonic() + lease.seconds

    def left(self, lease: Lease) -> float:
        return max(0.0, lease.ends - self._clock.monotonic())

    def follow(self, event: Event, number: int) -> None:
        """A write happened: the key leaves its former lease and joins `number`, 0 for none."""
        if (former := self._of.pop(event.key, None)) is not None:
            former.keys.discard(event.key)
        if number and event.type is not EventType.DELETE and (lease := self._by_number.get(number)) is not None:
            lease.keys.add(event.key)
            self._of[event.key] = lease

    def join(self, key: str, number: int) -> None:
        """A key that was written with `number` before the store was opened."""
        if (lease := self._by_number.get(number)) is None:
            _log.error("a key hangs on a lease that is not there, and stays", key=key, lease=number)
            return
        lease.keys.add(key)
        self._of[key] = lease

    def forget(self, lease: Lease) -> None:
        self._by_number.pop(lease.number, None)

    def all(self) -> list[Lease]:
        return list(self._by_number.values())

    async def revoke(self, number: int) -> None:
        """End a lease before its time. Raises NoSuchLease, StoreUnavailable (it lives on then)."""
        lease = self.living(number)
        lease.ended = True
        if lease.waiting is not None:
            lease.waiting.cancel()
        try:
            await self._end(lease)
        except BaseException:
            lease.ended = False
            self._wait_for(lease)
            raise

    async def stop(self) -> None:
        await self._tasks.stop()

    def _wait_for(self, lease: Lease) -> None:
        lease.waiting = self._tasks.start(str(lease.number), self._wait(lease))

    async def _wait(self, lease: Lease) -> None:
        while (left := self.left(lease)) > 0:
            await self._clock.sleep(left)
        lease.ended = True
        while True:
            try:
                return await self._end(lease)
            except StoreUnavailable as error:
                _log.warning("the keys of an ended lease stay for now", lease=lease.number, error=str(error))
                await self._clock.sleep(_RETRY)
