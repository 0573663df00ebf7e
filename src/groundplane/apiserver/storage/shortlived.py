"""Objects that end by themselves: events, an hour after they were last written (kube-apiserver --event-ttl).

One lease of the store serves all that is written within a minute, or a thousand of them, as upstream's lease manager
does (apiserver/pkg/storage/etcd3/lease_manager.go): a lease for each object would cost a write for each object. A lease
lives longer than an hour by the time in which it is used, so that what is written last still has its hour.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from groundplane.base.clock import Clock
from groundplane.store.contract import NoSuchLease, Store

EVENT_LIFE = 3600.0
REUSE_SECONDS = 60.0
REUSE_WRITES = 1000


class ShortLived:
    """Gives each write a lease. Used by the objects of one resource."""

    def __init__(self, store: Store, clock: Clock, life: float = EVENT_LIFE) -> None:
        self._store = store
        self._clock = clock
        self._life = life
        self._lease = 0
        self._until = 0.0
        self._left = 0

    async def write(self, work: Callable[[int], Awaitable[int]]) -> int:
        """Do `work` with a lease. Where that one has ended (a store put back, a long sleep), once more with another."""
        lease = await self._current()
        try:
            return await work(lease)
        except NoSuchLease:
            if self._lease == lease:
                self._left = 0
            return await work(await self._current())

    async def _current(self) -> int:
        if self._left <= 0 or self._clock.monotonic() >= self._until:
            self._lease = await self._store.grant(self._life + REUSE_SECONDS)
            self._until, self._left = self._clock.monotonic() + REUSE_SECONDS, REUSE_WRITES
        self._left -= 1
        return self._lease
