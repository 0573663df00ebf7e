"""Generated histories: the drivers against the pure model, one step at a time and with many writers at once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import etcd
from tests.model.store_model import Change, Item, StoreModel

from groundplane.store.contract import Entry, Event, Store, StoreError
from groundplane.store.registry import open_store
from groundplane.store.retention import Retention

KEYS = st.sampled_from(["/a", "/a/1", "/a/2", "/a/é", "/b/1", "/b/2", "/c"])
PREFIXES = st.sampled_from(["", "/", "/a", "/a/", "/b/", "/c", "/d"])
VALUES = st.binary(max_size=4)
# A revision relative to what is known: the key's own, the newest, or something else.
EXPECTED = st.sampled_from(["right", "right", "right", "newest", "older", "zero"])
BACK = st.integers(min_value=-1, max_value=12)

STEPS = st.one_of(
    st.tuples(st.just("create"), KEYS, VALUES),
    st.tuples(st.just("update"), KEYS, VALUES, EXPECTED),
    st.tuples(st.just("delete"), KEYS, EXPECTED),
    st.tuples(st.just("get"), KEYS, BACK),
    st.tuples(st.just("list"), PREFIXES, KEYS | st.just(""), st.integers(0, 4), BACK),
    st.tuples(st.just("watch"), PREFIXES, BACK),
    st.tuples(st.just("drain")),
    st.tuples(st.just("compact"), BACK),
    st.tuples(st.just("reopen")),
)
DRIVERS = ["memory:", "sqlite:{root}/store.db"]
QUICK = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
)
SLOW = settings(QUICK, max_examples=100)


def item(entry: Entry | None) -> Item | None:
    return Item(entry.value, entry.created, entry.revision) if entry else None


def change(event: Event) -> Change:
    return Change(event.type.value, event.key, event.value, event.revision, item(event.previous))


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except StoreError as error:
        return type(error).__name__


class Pair:
    """A driver and the model, taken through the same steps."""

    def __init__(self, url: str, keep: Retention, store: Store) -> None:
        self.url = url
        self.keep = keep
        self.store = store
        self.model = StoreModel()
        self.model.skip_to(store.revision)
        self.model.compact(store.revision)
        self.watches: list[tuple[Any, str, int]] = []

    async def step(self, name: str, *args: Any) -> None:
        await getattr(self, name)(*args)
        if self.url.startswith("etcd:"):  # what it writes of its own takes revisions too
            self.model.skip_to(await self.store.sync())
        assert self.store.revision == self.model.revision

    def passed(self, answer: Any) -> Any:
        """What a write was answered, once the model is right before it: on etcd others write in between."""
        if self.url.startswith("etcd:") and isinstance(answer, int):
            self.model.skip_to(answer - 1)
        return answer

    def expected(self, key: str, how: str) -> int:
        known = self.model.now.get(key)
        right = known.revision if known else 0
        return {"right": right, "newest": self.model.revision, "older": max(0, right - 1), "zero": 0}[how]

    async def create(self, key: str, value: bytes) -> None:
        found = self.passed(await outcome(lambda: self.store.create(key, value)))
        assert found == self.model.create(key, value)

    async def update(self, key: str, value: bytes, how: str) -> None:
        revision = self.expected(key, how)
        found = self.passed(await outcome(lambda: self.store.update(key, value, revision)))
        assert found == self.model.update(key, value, revision)

    async def delete(self, key: str, how: str) -> None:
        revision = self.expected(key, how)
        found = self.passed(await outcome(lambda: self.store.delete(key, revision)))
        assert found == self.model.delete(key, revision)

    async def get(self, key: str, back: int) -> None:
        revision = self.model.revision - back
        if revision <= 0:
            assert item(await self.store.get(key)) == self.model.now.get(key)
            return
        found = await outcome(lambda: self.store.get(key, revision))
        if error := self.model.readable(revision):
            assert found == error
        else:
            assert item(found) == self.model.states[revision].get(key)

    async def list(self, prefix: str, start: str, limit: int, back: int) -> None:
        revision = max(0, self.model.revision - back)
        found = await outcome(lambda: self.store.list(prefix, start=start, limit=limit, revision=revision))
        if revision and (error := self.model.readable(revision)):
            assert found == error
            return
        everything = self.model.below(prefix, start, revision or self.model.revision)
        cut = everything[:limit] if limit else everything
        assert [(e.key, item(e)) for e in found.entries] == cut
        assert (found.more, found.remaining) == (len(cut) < len(everything), len(everything) - len(cut))
        assert found.revision == (revision or self.model.revision)
        assert await self.store.count(prefix) == len(self.model.below(prefix, "", self.model.revision))

    async def watch(self, prefix: str, back: int) -> None:
        after = max(0, self.model.revision - back)
        error = self.model.readable(after)
        try:
            watch = self.store.watch(prefix, after)
        except StoreError as found:
            assert type(found).__name__ == error
        else:
            assert error is None
            self.watches.append((watch, prefix, after))

    async def drain(self) -> None:
        for n, (watch, prefix, after) in enumerate(self.watches):
            expected = self.model.after(prefix, after)
            events = watch.pending()
            while len(events) < len(expected):  # etcd is asked for what is older than the events in memory
                async with asyncio.timeout(60):
                    events += await watch.next()
            assert [change(e) for e in events] == expected
            self.watches[n] = (watch, prefix, self.model.revision)

    async def compact(self, back: int) -> None:
        revision = max(0, self.model.revision - back)
        assert await outcome(lambda: self.store.compact(revision)) == self.model.compact(revision)

    async def reopen(self) -> None:
        if self.url == "memory:":
            return
        await self.drain()
        await self.store.close()
        self.watches = []
        self.store = await open_store(self.url, keep=self.keep)
        self.model.skip_to(self.store.revision)


HISTORIES = {"steps": st.lists(STEPS, max_size=40), "window": st.sampled_from([1, 3, 10_000])}
WRITERS = {"writers": st.lists(st.lists(st.tuples(KEYS, VALUES), max_size=8), min_size=2, max_size=8)}


@pytest.fixture(scope="module")
def etcd_url() -> Iterator[str]:
    """One etcd for all histories; each has a prefix of its own in it, and begins with a compaction."""
    root = tempfile.mkdtemp(prefix="ground-test-", dir="/dev/shm")
    try:
        with etcd.cluster(Path(root)) as server:
            yield server.url("{root}")
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("driver", DRIVERS)
@QUICK
@given(**HISTORIES)
def test_a_driver_and_the_model_agree(driver: str, steps: list[tuple[Any, ...]], window: int) -> None:
    agree(driver, steps, window)


@pytest.mark.needs("etcd")
@SLOW
@given(**HISTORIES)
def test_etcd_and_the_model_agree(etcd_url: str, steps: list[tuple[Any, ...]], window: int) -> None:
    agree(etcd_url, steps, window)


def agree(driver: str, steps: list[tuple[Any, ...]], window: int) -> None:
    keep = Retention(revisions=0, in_memory=window)  # a small window sends reads and watches of the past to SQL
    root = tempfile.mkdtemp(prefix="ground-test-", dir="/dev/shm")

    async def scenario() -> None:
        url = driver.format(root=root)
        pair = Pair(url, keep, await open_store(url, keep=keep))
        try:
            await pair.store.compact(pair.store.revision)
            for step in steps:
                await pair.step(*step)
            await pair.drain()
        finally:
            await pair.store.close()

    try:
        asyncio.run(scenario())
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("driver", DRIVERS)
@QUICK
@given(**WRITERS)
def test_concurrent_histories_are_linear(driver: str, writers: list[list[tuple[str, bytes]]]) -> None:
    linear(driver, writers)


@pytest.mark.needs("etcd")
@SLOW
@given(**WRITERS)
def test_concurrent_histories_on_etcd_are_linear(etcd_url: str, writers: list[list[tuple[str, bytes]]]) -> None:
    linear(etcd_url, writers)


def linear(driver: str, writers: list[list[tuple[str, bytes]]]) -> None:
    """Whatever many writers do at once, the events, replayed one by one on the model, explain every answer.

    Each writer creates, updates or deletes by what it last read; each answer must be what the model says at the
    revision of the write, and a refusal must name a state that the key has really had meanwhile.
    """
    root = tempfile.mkdtemp(prefix="ground-test-", dir="/dev/shm")
    model = StoreModel()
    done: list[tuple[str, str, bytes, int, int]] = []  # kind, key, value, expected, revision
    refused: list[tuple[str, Entry | None, int, int]] = []  # key, what was shown, revisions before and after

    async def writer(store: Store, steps: list[tuple[str, bytes]]) -> None:
        for key, value in steps:
            seen = await store.get(key)
            begin = store.revision
            await asyncio.sleep(0)
            kind = "create" if seen is None else "update" if value else "delete"
            try:
                if seen is None:
                    done.append((kind, key, value, 0, await store.create(key, value)))
                elif value:
                    done.append((kind, key, value, seen.revision, await store.update(key, value, seen.revision)))
                else:
                    done.append((kind, key, seen.value, seen.revision, await store.delete(key, seen.revision)))
            except StoreError as error:
                refused.append((key, getattr(error, "current", None), begin, store.revision))

    async def scenario() -> list[Event]:
        store = await open_store(driver.format(root=root))
        model.skip_to(store.revision)
        watch = store.watch("", store.revision)
        await asyncio.gather(*(writer(store, steps) for steps in writers))
        events = watch.pending()
        await store.close()
        return events

    try:
        events = asyncio.run(scenario())
    finally:
        shutil.rmtree(root)
    for (kind, key, value, expected, revision), event in zip(sorted(done, key=lambda d: d[4]), events, strict=True):
        if driver.startswith("etcd:"):  # the driver's own writes, to see a watch arrive
            model.skip_to(revision - 1)
        answer = {
            "create": lambda k=key, v=value: model.create(k, v),
            "update": lambda k=key, v=value, e=expected: model.update(k, v, e),
            "delete": lambda k=key, e=expected: model.delete(k, e),
        }[kind]()
        assert answer == revision
        assert astuple(change(event)) == astuple(model.changes[-1])
    for key, shown, begin, end in refused:
        if shown is not None:
            assert item(shown) in [model.states[r].get(key) for r in range(begin, end + 1)]


def test_history_is_whole_or_compacted_while_compaction_runs() -> None:
    """Reads of the past, writes and compactions at once: a read shows exactly its moment, or says Compacted."""
    root = tempfile.mkdtemp(prefix="ground-test-", dir="/dev/shm")
    model = StoreModel()

    async def write(store: Store, rounds: int) -> None:
        for n in range(rounds):
            key = f"/k/{n % 7}"
            known = model.now.get(key)
            if known is None:
                await store.create(key, b"%d" % n)
                model.create(key, b"%d" % n)
            elif n % 5:
                await store.update(key, b"%d" % n, known.revision)
                model.update(key, b"%d" % n, known.revision)
            else:
                await store.delete(key, known.revision)
                model.delete(key, known.revision)

    async def read(store: Store, seen: list[bool]) -> None:
        while not done.is_set():
            for back in (5, 40, 90):
                await asyncio.sleep(0)
                if (revision := model.revision - back) < 1:
                    continue
                found = await outcome(partial(store.list, "/k/", revision=revision))
                seen.append(found == "Compacted")
                if found != "Compacted":
                    assert [(e.key, item(e)) for e in found.entries] == model.below("/k/", "", revision)

    async def compact(store: Store) -> None:
        while not done.is_set():
            before = model.revision
            while model.revision < before + 20 and not done.is_set():
                await asyncio.sleep(0)
            await store.compact(max(0, model.revision - 50))

    async def scenario() -> list[bool]:
        seen: list[bool] = []
        store = await open_store(f"sqlite:{root}/store.db", keep=Retention(revisions=0, in_memory=10))
        async with asyncio.TaskGroup() as group:
            group.create_task(compact(store))
            readers = [group.create_task(read(store, seen)) for _ in range(3)]
            await write(store, 3000)
            done.set()
        assert all(r.done() for r in readers)
        await store.close()
        return seen

    done = asyncio.Event()
    try:
        seen = asyncio.run(asyncio.wait_for(scenario(), 120))
    finally:
        shutil.rmtree(root)
    assert True in seen and False in seen
