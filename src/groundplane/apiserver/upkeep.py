"""What a running server does by itself: forget old history, and events nobody needs any more.

compaction   every 5 minutes, what is older than 5 minutes (kube-apiserver --etcd-compaction-interval)
events       live for an hour (--event-ttl); etcd's leases do it upstream, here a sweep once a minute does
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver.storage.objects import Raced
from groundplane.base.clock import parse_rfc3339
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.store.contract import StoreError

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine

COMPACT_EVERY = 300.0
EVENT_LIFE = 3600.0
SWEEP_EVERY = 60.0
_log = Log("apiserver.upkeep")


class Upkeep:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._tasks = Tasks("apiserver.upkeep")

    def start(self) -> None:
        self._tasks.start("compact", self._compact())
        self._tasks.start("events", self._expire_events())

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _compact(self) -> None:
        store, clock = self._machine.cache.store, self._machine.clock
        seen = store.revision
        while True:
            await clock.sleep(COMPACT_EVERY)
            try:
                await store.compact(seen)
            except StoreError as error:
                _log.warning("history could not be compacted", error=str(error))
            seen = store.revision

    async def _expire_events(self) -> None:
        while True:
            await self._machine.clock.sleep(SWEEP_EVERY)
            await sweep_events(self._machine)


async def sweep_events(machine: Machine) -> None:
    """Remove the events that nobody has touched for an hour."""
    events, now = machine.registry.of("", "events").objects, machine.clock.time()
    for stored in events.below():
        if now - last_seen(stored.object) < EVENT_LIFE:
            continue
        try:
            await events.remove(stored)
        except Raced:
            continue  # it happened again just now
        except StoreError as error:
            _log.warning("an old event could not be removed", error=str(error))
            return


def last_seen(event: dict[str, object]) -> float:
    """When an event last happened, as well as it tells."""
    series, meta = event.get("series"), event["metadata"]
    stamps = [
        event.get("lastTimestamp"),
        series.get("lastObservedTime") if isinstance(series, dict) else None,
        event.get("eventTime"),
        meta.get("creationTimestamp") if isinstance(meta, dict) else None,
    ]
    return max((parse_rfc3339(s) for s in stamps if isinstance(s, str) and s), default=0.0)
