"""The store's small parts: sorted keys, retention, the bounded queues of watchers, a background compaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.clock import VirtualClock

from groundplane.base.errors import UsageError
from groundplane.store.contract import Compacted, Entry, Event, EventType
from groundplane.store.drivers.memory import MemoryStore
from groundplane.store.fanout import FanOut
from groundplane.store.keys import SortedKeys
from groundplane.store.registry import open_store
from groundplane.store.retention import Ages, Retention

Run = Callable[[Awaitable[None]], None]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text("ab/", max_size=5), max_size=60), st.text("ab/", max_size=3), st.text("ab/", max_size=3))
def test_sorted_keys_are_a_sorted_set(words: list[str], low: str, high: str) -> None:
    keys, model = SortedKeys(), set[str]()
    for word in words:  # a word seen twice is taken out again
        (keys.remove if word in model else keys.add)(word)
        model ^= {word}
    expected = sorted(w for w in model if low <= w < high)
    assert list(keys.range(low, high)) == expected
    assert keys.count(low, high) == len(expected)
    assert list(SortedKeys(model).range("", "z")) == sorted(model)


def test_retention_forgets_by_age_and_by_count() -> None:
    keep, ages = Retention(seconds=100, revisions=50), Ages()
    assert ages.due(keep, 0, 10) == 0
    assert ages.due(keep, 60, 40) == 0
    assert ages.due(keep, 100, 45) == 10  # 10 was the newest a hundred seconds ago
    assert ages.due(keep, 120, 100) == 50  # more than fifty revisions back
    assert ages.due(Retention(seconds=0, revisions=0), 1000, 100) == 0


def test_history_has_a_size() -> None:
    keep, ages = Retention(seconds=0, revisions=0, size=1000), Ages()
    assert ages.due(keep, 0, 10, written=100) == 0
    assert ages.due(keep, 60, 20, written=1099) == 0
    assert ages.due(keep, 120, 30, written=1100) == 10  # a thousand bytes were written since
    assert ages.due(keep, 180, 40, written=5000) == 30
    assert ages.due(Retention(seconds=0, revisions=0, size=0), 1000, 100, written=10**12) == 0


def event(revision: int, key: str = "/a") -> Event:
    return Event(EventType.CREATE, key, b"", revision, None)


def test_a_watcher_that_falls_behind_is_dropped(run: Run) -> None:
    async def scenario() -> None:
        fan = FanOut(limit=3)
        slow, quick = fan.add("/", 0, ()), fan.add("/", 0, ())
        for revision in range(1, 6):
            fan.publish([event(revision)])
            assert [e.revision for e in await quick.next()] == [revision]
        with pytest.raises(Compacted):
            await slow.next()
        with pytest.raises(Compacted):
            slow.pending()
        assert len(fan) == 1
        quick.close()
        assert len(fan) == 0

    run(scenario())


def test_a_dropped_watcher_wakes_who_waits(run: Run) -> None:
    async def scenario() -> None:
        fan = FanOut(limit=3)
        watch = fan.add("/", 0, ())
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        fan.publish([event(n) for n in range(1, 10)])
        with pytest.raises(Compacted):
            await waiting

    run(scenario())


def test_a_key_shorter_than_a_watched_prefix_is_delivered_once(run: Run) -> None:
    async def scenario() -> None:
        fan = FanOut()
        short, long = fan.add("/c", 0, ()), fan.add("/a/", 0, ())
        fan.publish([event(1, "/c")])
        assert len(short.pending()) == 1
        assert long.pending() == []

    run(scenario())


def test_history_is_compacted_in_the_background(run: Run, state_root: Path) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        keep = Retention(seconds=0, revisions=10, interval=60)
        store = await open_store(f"sqlite:{state_root}/store.db", keep=keep, clock=clock)
        revision = await store.create("/a", b"0")
        for n in range(30):
            revision = await store.update("/a", b"%d" % n, revision)
        assert await store.get("/a", 5) is not None
        await clock.advance(61)
        with pytest.raises(Compacted):
            await store.get("/a", revision - 11)
        entry = await store.get("/a", revision - 10)
        assert entry == Entry("/a", b"19", 1, revision - 10)
        await store.close()

    run(scenario())


def test_large_values_make_history_short(run: Run, state_root: Path) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        keep = Retention(seconds=0, revisions=0, size=1_000_000, interval=60)
        store = await open_store(f"sqlite:{state_root}/store.db", keep=keep, clock=clock)
        first = await store.create("/a", b"small")
        await clock.advance(61)
        revision = first
        for _ in range(10):
            revision = await store.update("/a", b"x" * 100_000, revision)
        assert await store.get("/a", first) is not None
        await clock.advance(61)
        assert (await store.status()).oldest == first
        await store.update("/a", b"y" * 1_000_000, revision)
        await clock.advance(61)
        assert (await store.status()).oldest == revision
        assert await store.check() == []
        await store.close()
        memory = await open_store("memory:", keep=keep)
        revision = await memory.create("/a", b"x" * 400_000)
        for _ in range(5):
            revision = await memory.update("/a", b"x" * 400_000, revision)
        with pytest.raises(Compacted):
            await memory.get("/a", 1)
        assert await memory.get("/a", revision - 1) is not None
        await memory.close()

    run(scenario())


def test_the_memory_driver_bounds_its_history(run: Run) -> None:
    async def scenario() -> None:
        store = MemoryStore(revisions=5)
        for n in range(20):
            await store.create(f"/{n:02}", b"")
        assert len((await store.list("/", revision=15)).entries) == 15
        with pytest.raises(Compacted):
            await store.list("/", revision=14)

    run(scenario())


def test_an_unknown_url_is_refused(run: Run) -> None:
    async def scenario() -> None:
        for url in ("", "mysql://x", "sqlite:"):
            with pytest.raises(UsageError, match="memory:"):
                await open_store(url)

    run(scenario())
