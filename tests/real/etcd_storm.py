"""Load on stores that share one etcd, faults meanwhile, and the judgement: what was answered against what etcd tells.

Writers create, update and delete keys of their own, and count up keys that all of them share; every value is written by
one attempt only. Each store has a watcher. Afterwards etcd's own history, read by a fresh store, must say that

    every answered write happened, at the answered revision       no acknowledged write is lost
    no attempt happened twice, or after it was refused            nothing is doubled
    each watcher saw exactly that history, in order               no event is missed, doubled or out of order
    each state can be reached: each change follows on the former  compare-and-set held
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from groundplane.store.contract import Conflict, Event, EventType, KeyExists, Store, StoreUnavailable
from groundplane.store.registry import open_store

SHARED = 3


@dataclass
class Attempt:
    """One write and what became of it: `revision` where it was answered, `refused`, or neither: nobody was told."""

    kind: EventType
    key: str
    value: bytes
    expected: int
    revision: int = 0
    refused: bool = False


@dataclass
class Storm:
    """What was done and seen."""

    stores: Sequence[Store]
    attempts: list[Attempt] = field(default_factory=list)
    seen: list[list[Event]] = field(default_factory=list)
    stopped: bool = False
    unavailable: int = 0
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def attempt(self, store: Store, kind: EventType, key: str, expected: int = 0) -> int:
        """The revision, or 0 where it was refused or nobody knows."""
        made = Attempt(kind, key, b"%d" % next(self._numbers), expected)
        self.attempts.append(made)
        try:
            if kind is EventType.CREATE:
                made.revision = await store.create(key, made.value)
            elif kind is EventType.UPDATE:
                made.revision = await store.update(key, made.value, expected)
            else:
                made.revision = await store.delete(key, expected)
        except (Conflict, KeyExists):
            made.refused = True
        except StoreUnavailable:
            self.unavailable += 1
            await asyncio.sleep(0.01)
        return made.revision

    async def own_keys(self, store: Store, name: str) -> None:
        for count in itertools.count():
            if self.stopped:
                return
            key = f"/own/{name}/{count % 5}"
            entry = await self._read(store, key)
            if entry is None:
                await self.attempt(store, EventType.CREATE, key)
            else:
                kind = EventType.DELETE if count % 3 == 0 else EventType.UPDATE
                await self.attempt(store, kind, key, entry)

    async def shared_keys(self, store: Store) -> None:
        for count in itertools.count():
            if self.stopped:
                return
            key = f"/shared/{count % SHARED}"
            entry = await self._read(store, key)
            await self.attempt(store, EventType.UPDATE if entry else EventType.CREATE, key, entry or 0)

    async def _read(self, store: Store, key: str) -> int | None:
        while True:
            try:
                entry = await store.get(key)
            except StoreUnavailable:
                self.unavailable += 1
                if self.stopped:
                    return None
                await asyncio.sleep(0.01)
            else:
                return entry.revision if entry else None

    async def watcher(self, store: Store, number: int) -> None:
        watch = store.watch("/", store.revision)
        while True:
            self.seen[number] += await watch.next()

    async def run(self, faults: Callable[[Storm], Awaitable[None]], writers: int = 6) -> None:
        """Load, faults, and the end of the load."""
        self.seen = [[] for _ in self.stores]
        watchers = [asyncio.ensure_future(self.watcher(s, n)) for n, s in enumerate(self.stores)]
        await asyncio.sleep(0)
        busy = [self.own_keys(s, f"{n}-{w}") for n, s in enumerate(self.stores) for w in range(writers)]
        load = [asyncio.ensure_future(w) for w in [*busy, *(self.shared_keys(s) for s in self.stores)]]
        try:
            await faults(self)
        finally:
            self.stopped = True
            await asyncio.gather(*load)
            await self._settle(watchers)

    async def _settle(self, watchers: Sequence[asyncio.Future[None]]) -> None:
        revision = 0
        async with asyncio.timeout(60):  # writes go on after the faults
            while not revision:
                revision = await self.attempt(self.stores[0], EventType.CREATE, f"/end/{len(self.attempts)}")
        for number in range(len(self.stores)):
            async with asyncio.timeout(60):
                while not self.seen[number] or self.seen[number][-1].revision < revision:
                    await asyncio.sleep(0.01)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    async def progress(self, writes: int = 100) -> None:
        """Return once so many more writes were answered."""
        goal = self.answered + writes
        async with asyncio.timeout(120):
            while self.answered < goal:
                await asyncio.sleep(0.01)

    @property
    def answered(self) -> int:
        return sum(1 for a in self.attempts if a.revision)


async def truth(url: str) -> list[Event]:
    """Everything that ever happened, as etcd tells a store that was not there."""
    store = await open_store(url)
    try:
        watch = store.watch("/", 0)
        try:
            async with asyncio.timeout(60):
                return await watch.next()
        finally:
            watch.close()
    finally:
        await store.close()


def judge(storm: Storm, history: Sequence[Event]) -> None:
    """Raises AssertionError with the first thing that is wrong; says how much there was (`pytest -s`)."""
    seen = sum(map(len, storm.seen))
    tried, answered = len(storm.attempts), storm.answered
    print(f"{tried} writes, {answered} answered, {storm.unavailable} unavailable, {seen} events seen")
    at = {e.revision: e for e in history}
    assert list(at) == sorted(at) and len(at) == len(history)
    done: dict[tuple[str, bytes], list[int]] = {}
    living: dict[str, Event] = {}
    for event in history:
        before = living.get(event.key)
        assert (event.previous.revision if event.previous else None) == (before.revision if before else None)
        assert (event.type is EventType.CREATE) == (before is None)
        if event.type is EventType.DELETE:
            del living[event.key]
        else:
            living[event.key] = event
            done.setdefault((event.key, event.value), []).append(event.revision)
    deletions = {(e.key, e.previous.revision): e.revision for e in history if e.previous and e.type is EventType.DELETE}
    for attempt in storm.attempts:
        what = f"{attempt}: etcd has {at.get(attempt.revision)}"
        if attempt.kind is EventType.DELETE:
            happened = [r for r in [deletions.get((attempt.key, attempt.expected))] if r]
        else:
            happened = done.get((attempt.key, attempt.value), [])
        assert len(happened) <= 1, f"done twice: {what}"
        if attempt.revision:
            assert happened == [attempt.revision], f"lost, or elsewhere: {what}"
        elif attempt.refused and attempt.kind is not EventType.DELETE:
            assert not happened, f"refused, and done: {what}"
    for seen in storm.seen:
        assert [(e.type, e.key, e.value, e.revision, e.previous) for e in seen] == [
            (e.type, e.key, e.value, e.revision, e.previous) for e in history if e.revision >= seen[0].revision
        ]
