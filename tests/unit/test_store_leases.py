"""Leases under a virtual clock: ends, renewals, restarts, a medium that refuses; and the events that hang on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.machine import bench

from groundplane.apiserver.storage.shortlived import EVENT_LIFE, REUSE_SECONDS, REUSE_WRITES, ShortLived
from groundplane.store.contract import NoSuchLease, Store
from groundplane.store.drivers.memory import MemoryStore
from groundplane.store.registry import open_store

Run = Callable[[Awaitable[None]], None]
URLS = ["memory:", "sqlite:{root}/store.db"]


async def keys(store: Store) -> list[str]:
    return [e.key for e in (await store.list("")).entries]


async def becomes(store: Store, expected: list[str]) -> None:
    """Wait until exactly these keys live."""
    watch = store.watch("", store.revision)
    while await keys(store) != expected:
        async with asyncio.timeout(60):
            await watch.next()
    watch.close()


@pytest.mark.parametrize("url", URLS)
def test_a_lease_ends_unless_it_is_kept_alive(run: Run, state_root: Path, url: str) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        store = await open_store(url.format(root=state_root), clock=clock)
        short, kept = await store.grant(10), await store.grant(10)
        await store.create("/short", b"", lease=short)
        await store.create("/kept", b"", lease=kept)
        await clock.advance(9)
        assert await keys(store) == ["/kept", "/short"]
        await store.keep_alive(kept)
        await clock.advance(2)
        await becomes(store, ["/kept"])
        with pytest.raises(NoSuchLease):
            await store.keep_alive(short)
        await clock.advance(7)
        await becomes(store, ["/kept"])
        await clock.advance(2)
        await becomes(store, [])
        await store.close()

    run(scenario())


def test_leases_outlive_a_restart_with_the_time_they_had(run: Run, state_root: Path) -> None:
    async def scenario() -> None:
        clock, url = VirtualClock(), f"sqlite:{state_root}/store.db"
        store = await open_store(url, clock=clock)
        lease, empty = await store.grant(100), await store.grant(1000)
        await store.create("/a", b"", lease=lease)
        await clock.advance(60)
        await store.close()
        await clock.advance(500)  # nobody could be heard: this time does not count
        store = await open_store(url, clock=clock)
        assert await store.grant(1) not in (lease, empty)
        await clock.advance(35)
        assert await keys(store) == ["/a"]
        await store.keep_alive(lease)  # is written down, because less had been
        await store.close()
        store = await open_store(url, clock=clock)
        await clock.advance(95)
        assert await keys(store) == ["/a"]
        await clock.advance(10)
        await becomes(store, [])
        assert await store.check() == []
        await store.close()

    run(scenario())


def test_what_is_left_of_leases_is_saved_now_and_then(run: Run, state_root: Path) -> None:
    async def scenario() -> None:
        clock, url = VirtualClock(), f"sqlite:{state_root}/store.db"
        store = await open_store(url, clock=clock)
        lease = await store.grant(1000)
        await store.create("/a", b"", lease=lease)
        for _ in range(2):
            await clock.advance(302)
            await store.grant(10_000)  # waits behind what the writing thread has to do
        copy = f"{state_root}/copy"
        await store.backup(copy)  # as a kill would leave it
        await store.close()
        store = await open_store(f"sqlite:{copy}", clock=clock)
        await clock.advance(385)
        assert await keys(store) == ["/a"]
        await clock.advance(20)  # 1000 - 600, the last time that was saved
        await becomes(store, [])
        await store.close()

    run(scenario())


def test_events_end_after_an_hour_and_share_leases(run: Run) -> None:
    async def scenario() -> None:
        clock, granted = VirtualClock(), list[int]()
        store = MemoryStore(clock=clock)
        lived = ShortLived(store, clock)

        async def work(lease: int) -> int:
            granted.append(lease)
            return await store.create(f"/e/{len(granted):05}", b"", lease=lease)

        await lived.write(work)
        await clock.advance(REUSE_SECONDS - 1)
        await lived.write(work)
        await clock.advance(2)
        for _ in range(REUSE_WRITES + 1):
            await lived.write(work)
        assert granted == [1, 1, *[2] * REUSE_WRITES, 3]
        await clock.advance(EVENT_LIFE - 1)
        assert len(await keys(store)) == REUSE_WRITES + 1
        await store.revoke(3)
        await lived.write(work)
        assert granted[-1] == 4
        await store.close()

    run(scenario())


def test_the_api_servers_events_end_and_other_objects_stay(run: Run) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        async with bench(MemoryStore(clock=clock)) as b:

            async def advance(seconds: float) -> None:
                for each in (b.clock, clock):
                    await each.advance(seconds)

            event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "reason": "R"}
            await b.ok("POST", "/api/v1/namespaces/default/events", event)
            await b.ok("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}})
            await advance(EVENT_LIFE - 1)
            found = await b.ok("GET", "/api/v1/namespaces/default/events/e")
            await b.ok("PUT", "/api/v1/namespaces/default/events/e", {**found, "count": 2})
            await advance(REUSE_SECONDS + 2)
            assert (await b.ok("GET", "/api/v1/namespaces/default/events/e"))["count"] == 2
            await advance(EVENT_LIFE + REUSE_SECONDS)
            await b.refused("GET", "/api/v1/namespaces/default/events/e")
            await b.ok("GET", "/api/v1/namespaces/default/configmaps/c")

    run(scenario())
