"""The store's contract as cases: each takes an open, empty store. Every driver passes all of them.

A driver's test module runs `CASES` against its own opener (`test_store_drivers.py`).

Where a store is shared, others' writes, and the driver's own to see a watch arrive, take revisions whenever they like:
`follows` and `steps` ask for consecutive ones only where this process is the only writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from groundplane.store.contract import (
    Compacted,
    Conflict,
    EventType,
    FutureRevision,
    KeyExists,
    NoSuchLease,
    Store,
    StoreError,
    StoreUnavailable,
    Watch,
)
from groundplane.store.registry import open_store

Case = Callable[[Store], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


async def soon(watch: Watch) -> list[tuple[str, str, bytes]]:
    """What a watch gives within a deadline, without revisions."""
    async with asyncio.timeout(60):
        events = await watch.next()
    return [(e.type.value, e.key, e.value) for e in events]


def follows(store: Store, before: int, *revisions: int) -> bool:
    """Whether `revisions` came after `before` in this order, without a gap where nobody else can write."""
    if store.shared:
        return all(a < b for a, b in pairwise((before, *revisions)))
    return list(revisions) == list(range(before + 1, before + 1 + len(revisions)))


def steps(store: Store, before: int, number: int) -> bool:
    """Whether `number` writes have happened since revision `before`."""
    return store.revision >= before + number if store.shared else store.revision == before + number


@case
async def a_fresh_store_is_empty(store: Store) -> None:
    page = await store.list("/")
    assert (page.entries, page.more, page.remaining) == ([], False, 0)
    assert await store.get("/a") is None
    assert await store.count("/") == 0


@case
async def every_write_takes_the_next_revision(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.update("/a", b"2", first)
    third = await store.create("/b", b"3")
    fourth = await store.delete("/a", second)
    assert first >= 1
    assert follows(store, first, second, third, fourth)
    assert steps(store, fourth, 0)


@case
async def an_entry_knows_when_it_was_created_and_changed(store: Store) -> None:
    created = await store.create("/a", b"1")
    changed = await store.update("/a", b"2", created)
    entry = await store.get("/a")
    assert entry is not None
    assert (entry.key, entry.value, entry.created, entry.revision) == ("/a", b"2", created, changed)


@case
async def a_key_created_again_is_a_new_key(store: Store) -> None:
    first = await store.create("/a", b"1")
    await store.delete("/a", first)
    again = await store.create("/a", b"2")
    entry = await store.get("/a")
    assert entry is not None
    assert (entry.created, entry.revision) == (again, again)


@case
async def create_refuses_a_living_key(store: Store) -> None:
    await store.create("/a", b"1")
    before = store.revision
    with pytest.raises(KeyExists):
        await store.create("/a", b"2")
    assert steps(store, before, 0)


@case
async def a_wrong_expectation_is_a_conflict_that_shows_what_is_there(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.update("/a", b"2", first)
    for attempt in (store.update("/a", b"3", first), store.delete("/a", first)):
        with pytest.raises(Conflict) as caught:
            await attempt
        assert caught.value.current is not None
        assert (caught.value.current.value, caught.value.current.revision) == (b"2", second)
    for attempt in (store.update("/b", b"3", first), store.delete("/b", first)):
        with pytest.raises(Conflict) as caught:
            await attempt
        assert caught.value.current is None


@case
async def of_concurrent_writers_with_one_expectation_one_wins(store: Store) -> None:
    revision = await store.create("/a", b"0")
    attempts = [store.update("/a", b"%d" % i, revision) for i in range(20)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    winners = [i for i, r in enumerate(results) if isinstance(r, int)]
    losers = [r for r in results if isinstance(r, Conflict)]
    assert len(winners) == 1 and len(losers) == 19
    entry = await store.get("/a")
    assert entry is not None and entry.value == b"%d" % winners[0]
    assert all(r.current == entry for r in losers)


@case
async def of_concurrent_creators_one_wins(store: Store) -> None:
    results = await asyncio.gather(*(store.create("/a", b"%d" % i) for i in range(20)), return_exceptions=True)
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, KeyExists) for r in results) == 19


@case
async def concurrent_writes_take_consecutive_revisions(store: Store) -> None:
    before = store.revision
    revisions = await asyncio.gather(*(store.create(f"/k/{i:03}", b"x") for i in range(200)))
    assert follows(store, before, *sorted(revisions))
    for i, revision in enumerate(revisions):
        entry = await store.get(f"/k/{i:03}")
        assert entry is not None and entry.revision == revision


@case
async def a_list_is_sorted_and_keeps_to_its_prefix(store: Store) -> None:
    for key in ("/b/2", "/b/10", "/a/1", "/c/1", "/b", "/b0", "/b/ä", "/b/z"):
        await store.create(key, key.encode())
    page = await store.list("/b/")
    assert [e.key for e in page.entries] == ["/b/10", "/b/2", "/b/z", "/b/ä"]
    assert [e.value for e in page.entries] == [e.key.encode() for e in page.entries]
    assert await store.count("/b/") == 4
    assert await store.count("/b") == 6
    assert steps(store, page.revision, 0)


@case
async def many_keys_stay_sorted_through_insertions_and_removals(store: Store) -> None:
    keys = [f"/k/{(i * 7919) % 3001:04}" for i in range(3001)]
    revisions = dict(zip(keys, await asyncio.gather(*(store.create(k, b"") for k in keys)), strict=True))
    gone = keys[::3]
    await asyncio.gather(*(store.delete(k, revisions[k]) for k in gone))
    left = sorted(set(keys) - set(gone))
    assert [e.key for e in (await store.list("/k/")).entries] == left
    page = await store.list("/k/", start=left[1000], limit=5)
    assert [e.key for e in page.entries] == left[1000:1005]
    assert page.remaining == len(left) - 1005


@case
async def pages_show_one_moment(store: Store) -> None:
    for i in range(5):
        await store.create(f"/p/{i}", b"old")
    first = await store.list("/p/", limit=2)
    assert [e.key for e in first.entries] == ["/p/0", "/p/1"]
    assert (first.more, first.remaining) == (True, 3)
    third = await store.get("/p/3")
    assert third is not None
    await store.update("/p/3", b"new", third.revision)
    fourth = await store.get("/p/4")
    assert fourth is not None
    await store.delete("/p/4", fourth.revision)
    await store.create("/p/25", b"new")
    start = first.entries[-1].key + "\0"
    rest = await store.list("/p/", start=start, limit=2, revision=first.revision)
    assert [(e.key, e.value) for e in rest.entries] == [("/p/2", b"old"), ("/p/3", b"old")]
    assert (rest.more, rest.remaining, rest.revision) == (True, 1, first.revision)
    last = await store.list("/p/", start="/p/3\0", limit=2, revision=first.revision)
    assert [(e.key, e.value) for e in last.entries] == [("/p/4", b"old")]
    assert (last.more, last.remaining) == (False, 0)


@case
async def the_past_can_be_read(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.update("/a", b"2", first)
    third = await store.delete("/a", second)
    fourth = await store.create("/a", b"4")

    async def at(revision: int) -> bytes | None:
        entry = await store.get("/a", revision)
        listed = (await store.list("/", revision=revision)).entries
        assert listed == ([entry] if entry else [])
        return entry.value if entry else None

    assert [await at(r) for r in (first, second, third, fourth)] == [b"1", b"2", None, b"4"]
    old = await store.get("/a", second)
    assert old is not None and (old.created, old.revision) == (first, second)


@case
async def the_future_cannot_be_read(store: Store) -> None:
    revision = await store.create("/a", b"1")
    with pytest.raises(FutureRevision):
        await store.get("/a", revision + 1)
    with pytest.raises(FutureRevision):
        await store.list("/", revision=revision + 1)
    with pytest.raises(FutureRevision):
        store.watch("/", revision + 1)
    with pytest.raises(FutureRevision):
        await store.compact(revision + 1)


@case
async def a_watch_gives_what_came_after_and_what_comes(store: Store) -> None:
    first = await store.create("/w/a", b"1")
    second = await store.update("/w/a", b"2", first)
    watch = store.watch("/w/", first)
    await store.create("/x/a", b"elsewhere")
    assert await soon(watch) == [("update", "/w/a", b"2")]
    assert watch.pending() == []
    third = await store.delete("/w/a", second)
    events = watch.pending()
    assert [(e.type, e.value, e.revision) for e in events] == [(EventType.DELETE, b"2", third)]
    previous = events[0].previous
    assert previous is not None and (previous.value, previous.created, previous.revision) == (b"2", first, second)
    watch.close()


@case
async def a_watch_from_zero_sees_everything(store: Store) -> None:
    first = await store.create("/a", b"1")
    await store.update("/a", b"2", first)
    watch = store.watch("", 0)
    assert await soon(watch) == [("create", "/a", b"1"), ("update", "/a", b"2")]
    watch.close()


@case
async def a_waiting_watch_wakes(store: Store) -> None:
    watch = store.watch("/w/", store.revision)
    waiting = asyncio.create_task(soon(watch))
    await asyncio.sleep(0)
    await store.create("/w/a", b"1")
    assert await waiting == [("create", "/w/a", b"1")]
    watch.close()


@case
async def who_has_written_finds_the_event(store: Store) -> None:
    watch = store.watch("/", store.revision)
    for i in range(10):
        revision = await store.create(f"/{i}", b"")
        assert [e.revision for e in watch.pending()] == [revision]
    watch.close()


@case
async def every_watch_sees_every_write_once_and_in_order(store: Store) -> None:
    before = store.revision
    watches = [store.watch(prefix, before) for prefix in ("/", "/a/", "/b/", "/a/1")]
    await asyncio.gather(*(store.create(f"/{'ab'[i % 2]}/{i}", b"%d" % i) for i in range(100)))
    everything = watches[0].pending()
    assert len(everything) == 100 and follows(store, before, *(e.revision for e in everything))
    for watch, prefix in zip(watches[1:], ("/a/", "/b/", "/a/1"), strict=True):
        assert watch.pending() == [e for e in everything if e.key.startswith(prefix)]
    for watch in watches:
        watch.close()


@case
async def a_closed_watch_gives_nothing(store: Store) -> None:
    watch = store.watch("/", store.revision)
    watch.close()
    watch.close()
    await store.create("/a", b"")
    with pytest.raises(StoreError):
        watch.pending()


@case
async def compaction_forgets_the_past_and_keeps_the_living(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.update("/a", b"2", first)
    gone = await store.create("/gone", b"x")
    dead = await store.delete("/gone", gone)
    await store.compact(dead)
    with pytest.raises(Compacted) as caught:
        await store.get("/a", second)
    assert caught.value.oldest == dead
    with pytest.raises(Compacted):
        await store.list("/", revision=gone)
    with pytest.raises(Compacted):
        store.watch("/", gone)
    assert [(e.key, e.value, e.created) for e in (await store.list("/")).entries] == [("/a", b"2", first)]
    assert [(e.key, e.value) for e in (await store.list("/", revision=dead)).entries] == [("/a", b"2")]
    watch = store.watch("/", dead)
    third = await store.update("/a", b"3", second)
    [event] = watch.pending()
    assert event.revision == third and event.previous is not None and event.previous.value == b"2"
    assert (await store.get("/a", dead)).value == b"2"  # type: ignore[union-attr]
    watch.close()


@case
async def compaction_in_the_middle_keeps_the_state_of_that_revision(store: Store) -> None:
    a1 = await store.create("/a", b"a1")
    b1 = await store.create("/b", b"b1")
    a2 = await store.update("/a", b"a2", a1)
    b2 = await store.update("/b", b"b2", b1)
    a3 = await store.delete("/a", a2)
    await store.compact(a2)
    states = {r: {e.key: e.value for e in (await store.list("/", revision=r)).entries} for r in (a2, b2, a3)}
    assert states == {a2: {"/a": b"a2", "/b": b"b1"}, b2: {"/a": b"a2", "/b": b"b2"}, a3: {"/b": b"b2"}}
    watch = store.watch("/", a2)
    assert [(e.key, e.previous and e.previous.value) for e in watch.pending()] == [("/b", b"b1"), ("/a", b"a2")]
    watch.close()
    await store.compact(a1)  # older than what is compacted: nothing happens
    assert (await store.get("/b", a2)).value == b"b1"  # type: ignore[union-attr]


@case
async def values_are_opaque_bytes(store: Store) -> None:
    for i, value in enumerate((b"", b"\0", bytes(range(256)), b"x" * 3_000_000)):
        await store.create(f"/v/{i}", value)
        entry = await store.get(f"/v/{i}")
        assert entry is not None and entry.value == value


@case
async def sync_gives_the_newest_revision_and_its_events(store: Store) -> None:
    watch = store.watch("/", store.revision)
    revision = await store.create("/a", b"1")
    assert await store.sync() >= revision
    assert steps(store, revision, 0)
    assert [e.revision for e in watch.pending()] == [revision]
    watch.close()


@case
async def sync_tells_how_far_a_silent_watch_is(store: Store) -> None:
    silent, busy = store.watch("/silent/", store.revision), store.watch("/busy/", store.revision)
    for n in range(5):
        revision = await store.create(f"/busy/{n}", b"")
        assert await store.sync() >= revision
        assert silent.pending() == [] and [e.revision for e in busy.pending()] == [revision]
        later = store.watch("/silent/", store.revision)  # and from there a client goes on
        assert later.pending() == []
        later.close()
    silent.close()
    busy.close()


@case
async def an_ended_lease_takes_its_keys_with_it(store: Store) -> None:
    stays, lease = await store.create("/l/stays", b"x"), await store.grant(1)
    watch = store.watch("/l/", stays)
    written: list[tuple[str, str, bytes]] = []
    with contextlib.suppress(NoSuchLease):  # where the three writes take longer than the lease lives
        for n in range(3):
            await store.create(f"/l/{n}", b"%d" % n, lease=lease)
            written.append(("create", f"/l/{n}", b"%d" % n))
    seen: list[tuple[str, str, bytes]] = []
    while len(seen) < 2 * len(written):
        seen += await soon(watch)
    created, gone = seen[: len(written)], seen[len(written) :]
    assert created == written and sorted(gone) == [("delete", key, value) for _, key, value in written]
    assert [e.key for e in (await store.list("/l/")).entries] == ["/l/stays"]
    await no_such_lease(store, lease)
    watch.close()


async def no_such_lease(store: Store, lease: int) -> None:
    before = store.revision
    here = await store.create("/here", b"")
    for attempt in (
        store.keep_alive(lease),
        store.revoke(lease),
        store.create("/other", b"", lease=lease),
        store.update("/here", b"", here, lease=lease),
    ):
        with pytest.raises(NoSuchLease):
            await attempt
    await store.delete("/here", here)
    assert steps(store, before, 2)


@case
async def a_revoked_lease_takes_its_keys_with_it(store: Store) -> None:
    lease, other = await store.grant(600), await store.grant(600)
    assert lease != other and lease > 0
    created = await store.create("/a", b"1", lease=lease)
    changed = await store.update("/a", b"2", created, lease=lease)
    kept = await store.create("/b", b"3", lease=other)
    watch = store.watch("/", kept)
    await store.keep_alive(lease)
    await store.revoke(lease)
    [event] = watch.pending()
    assert (event.type, event.key, event.value) == (EventType.DELETE, "/a", b"2")
    assert follows(store, kept, event.revision)
    assert event.previous is not None and (event.previous.created, event.previous.revision) == (created, changed)
    assert await store.get("/a") is None and await store.get("/b") is not None
    await no_such_lease(store, lease)
    await store.create("/a", b"4", lease=other)
    watch.close()


@case
async def a_key_leaves_its_lease_when_it_is_written_or_deleted(store: Store) -> None:
    first, second = await store.grant(600), await store.grant(600)
    freed = await store.create("/freed", b"1", lease=first)
    await store.update("/freed", b"2", freed)
    moved = await store.create("/moved", b"1", lease=first)
    await store.update("/moved", b"2", moved, lease=second)
    again = await store.create("/again", b"1", lease=first)
    await store.delete("/again", again)
    await store.create("/again", b"2")
    await store.create("/bound", b"1", lease=first)
    await store.revoke(first)
    assert [e.key for e in (await store.list("/")).entries] == ["/again", "/freed", "/moved"]
    await store.revoke(second)
    assert [e.key for e in (await store.list("/")).entries] == ["/again", "/freed"]


@case
async def a_lease_that_never_was_is_refused(store: Store) -> None:
    await no_such_lease(store, 123456789)


@case
async def a_lease_ends_while_its_keys_are_written(store: Store) -> None:
    """Whatever is answered before the end is deleted by it, whatever comes after is refused: nothing hangs on."""
    lease = await store.grant(600)
    writes = [store.create(f"/l/{n}", b"", lease=lease) for n in range(50)]
    answers = await asyncio.gather(*writes[:25], store.revoke(lease), *writes[25:], return_exceptions=True)
    assert all(isinstance(a, int | NoSuchLease | None) for a in answers)
    assert await store.count("/l/") == 0


@case
async def status_tells_what_is_stored(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.create("/b", b"1")
    gone = await store.delete("/a", first)
    status = await store.status()
    assert (status.keys, status.alarms) == (1, ())
    assert status.revision >= gone and steps(store, gone, 0)
    assert status.driver and status.size >= 0
    await store.compact(second)
    assert (await store.status()).oldest == second


@case
async def a_sound_store_passes_its_check(store: Store) -> None:
    assert await store.check() == []
    revision = await store.create("/a", b"1")
    for n in range(20):
        revision = await store.update("/a", b"%d" % n, revision)
        await store.create(f"/b/{n}", b"x", lease=await store.grant(60))
    await store.delete("/a", revision)
    await store.compact(revision - 5)
    await store.create("/a", b"2")
    assert await store.check() == []


@case
async def a_backup_is_a_store_as_of_one_moment(store: Store) -> None:
    lease = await store.grant(600)
    created = await store.create("/a", b"1")
    changed = await store.update("/a", b"2", created)
    gone = await store.create("/gone", b"x")
    await store.delete("/gone", gone)
    leased = await store.create("/leased", b"l", lease=lease)
    with tempfile.TemporaryDirectory(prefix="ground-test-") as directory:
        path = f"{directory}/backup"
        moment, *_ = await asyncio.gather(store.backup(path), *(store.create(f"/k/{n:03}", b"x") for n in range(100)))
        assert os.listdir(directory) == ["backup"] and os.stat(path).st_mode & 0o7777 == 0o600
        then = (await store.list("", revision=moment)).entries
        with pytest.raises(StoreError, match="exists"):
            await store.backup(path)
        with pytest.raises(StoreUnavailable):
            await store.backup(f"{directory}/missing/backup")
        assert os.listdir(directory) == ["backup"]
        copy = await open_store(f"sqlite:{path}")
        try:
            assert copy.revision == moment >= leased
            assert (await copy.list("")).entries == then
            assert await copy.check() == []
            entry = await copy.get("/a")
            assert entry is not None and (entry.created, entry.revision) == (created, changed)
            assert await copy.create("/more", b"") == moment + 1
        finally:
            await copy.close()


@case
async def a_closed_store_refuses_and_ends_its_watches(store: Store) -> None:
    watch = store.watch("/", store.revision)
    write = asyncio.create_task(store.create("/a", b"1"))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert await write >= 1
    assert await soon(watch) == [("create", "/a", b"1")]
    with pytest.raises(StoreUnavailable):
        await watch.next()
    with pytest.raises(StoreUnavailable):
        await store.create("/b", b"")
    with pytest.raises(StoreUnavailable):
        await store.get("/a")
