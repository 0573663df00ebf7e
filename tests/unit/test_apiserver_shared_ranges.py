"""Numbers that several servers give out: written where all see them, free again when they leaked."""

from __future__ import annotations

import asyncio
from base64 import b64decode

from tests.fakes.clock import VirtualClock

from groundplane.apiserver.services.ranges import Range
from groundplane.apiserver.services.shared import SharedRange
from groundplane.base.jsonyaml import loads
from groundplane.store.contract import Store
from groundplane.store.registry import open_store

KEY = "/registry/ranges/servicenodeports"


def shared(store: Store, clock: VirtualClock) -> tuple[SharedRange, Range]:
    pool = Range(30000, 30007, 0)
    return SharedRange(store, clock, "servicenodeports", pool, "30000-30007"), pool


def test_two_servers_and_one_bitmap() -> None:
    async def work() -> None:
        store, clock = await open_store("memory:"), VirtualClock()
        (one, ones), (other, others) = shared(store, clock), shared(store, clock)
        await one.load([])
        await other.load([])
        ones.take(30001)
        others.take(30002)
        assert await one.save()
        assert not await other.save(), "somebody was faster"
        await other.load([30007])
        assert others.taken == {30001, 30007}
        others.take(30002)
        assert await other.save()
        entry = await store.get(KEY)
        assert entry is not None
        written = loads(entry.value)
        # Upstream's form: bit n is the n-th number, as a big-endian integer.
        assert (written["kind"], written["range"]) == ("RangeAllocation", "30000-30007")
        assert int.from_bytes(b64decode(written["data"]), "big") == 0b10000110
        await one.free([30001], [30007])
        await other.load([30007])
        assert others.taken == {30002, 30007}
        await store.close()

    asyncio.run(work())


def test_a_number_that_nobody_has_is_free_after_ten_minutes() -> None:
    async def work() -> None:
        store, clock = await open_store("memory:"), VirtualClock()
        (one, ones), (other, others) = shared(store, clock), shared(store, clock)
        await one.load([])
        ones.take(30003)
        assert await one.save()  # and here its server dies
        await other.load([])
        await clock.advance(599)
        await other.load([])
        assert others.taken == {30003}
        await clock.advance(1)
        await other.load([])
        assert others.taken == set()
        await other.load([30003])  # it was a slow one after all: its Service is there
        assert others.taken == {30003}
        await store.close()

    asyncio.run(work())
