"""What a running server does by itself: it moves the horizon behind which it reads no history any more.

Upstream compacts etcd every five minutes (kube-apiserver --etcd-compaction-interval), and clients count on it: a
continue token or an exact resource version of ten minutes ago is answered with 410 Expired. Our stores keep history
longer, for who asks the store for it, so the server itself stops looking back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.base.tasks import Tasks

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine

HORIZON_EVERY = 300.0


class Upkeep:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._tasks = Tasks("apiserver.upkeep")

    def start(self) -> None:
        self._tasks.start("horizon", self._move_horizon())

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _move_horizon(self) -> None:
        cache, clock = self._machine.cache, self._machine.clock
        while True:
            newest = cache.revision
            await clock.sleep(HORIZON_EVERY)
            cache.horizon = newest
