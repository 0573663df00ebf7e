"""Generated histories with leases, time, restarts and crashes: the drivers of this host against the pure model.

A crash is the store's files copied while it is open and opened elsewhere: what was answered is in the copy. (Kills
and power cuts of real processes are in tests/real.) A backup is taken now and then, and the history goes on in it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.clock import VirtualClock
from tests.model.test_store_model import DRIVERS, EXPECTED, QUICK, STEPS, VALUES, Pair, change, outcome

from groundplane.store.contract import Store
from groundplane.store.registry import open_store
from groundplane.store.retention import Retention

# Few keys and few leases, so that they meet; two leases are there from the start.
FEW = st.sampled_from(["/a", "/a/1", "/b/1"])
WHICH = st.sampled_from([0, 0, 0, 1, 1, 9])  # one of the newest leases, or none that is
LEASED = st.one_of(
    st.tuples(st.just("grant"), st.integers(1, 6)),
    st.tuples(st.just("create_leased"), FEW, VALUES, WHICH),
    st.tuples(st.just("create_leased"), FEW, VALUES, WHICH),
    st.tuples(st.just("update_leased"), FEW, VALUES, EXPECTED, WHICH),
    st.tuples(st.just("keep_alive"), WHICH),
    st.tuples(st.just("keep_alive"), WHICH),
    st.tuples(st.just("revoke"), WHICH),
    # 40 of these stay below the five minutes after which what is left of leases is written down.
    st.tuples(st.just("time"), st.integers(1, 7)),
    st.tuples(st.just("time"), st.integers(1, 3)),
    st.tuples(st.just("time"), st.integers(1, 3)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("backup")),
    st.tuples(st.just("check")),
)


@dataclass
class Held:
    seconds: float
    ends: float
    saved: float  # what a crash leaves of it


class LeasedPair(Pair):
    """A driver and the model with a clock of theirs."""

    def __init__(self, directory: str, url: str, keep: Retention, store: Store, clock: VirtualClock) -> None:
        super().__init__(url, keep, store)
        self.directory = directory
        self.clock = clock
        self.turn = 0
        self.numbers: list[int] = []
        self.held: dict[int, Held] = {}

    @property
    def durable(self) -> bool:
        return self.url != "memory:"

    def which(self, index: int) -> int:
        return self.numbers[index] if index < len(self.numbers) else 999

    async def grant(self, seconds: int) -> None:
        number = await self.store.grant(seconds)
        assert number not in self.numbers
        self.numbers.insert(0, number)
        self.model.grant(number, seconds)
        self.held[number] = Held(seconds, self.clock.monotonic() + seconds, seconds)

    async def create_leased(self, key: str, value: bytes, index: int) -> None:
        lease = self.which(index)
        expected = self.model.create(key, value, lease)
        assert await outcome(lambda: self.store.create(key, value, lease=lease)) == expected

    async def update_leased(self, key: str, value: bytes, how: str, index: int) -> None:
        lease, revision = self.which(index), self.expected(key, how)
        expected = self.model.update(key, value, revision, lease)
        assert await outcome(lambda: self.store.update(key, value, revision, lease=lease)) == expected

    async def keep_alive(self, index: int) -> None:
        lease = self.which(index)
        found = await outcome(lambda: self.store.keep_alive(lease))
        if (held := self.held.get(lease)) is None:
            assert found == "NoSuchLease"
            return
        assert found is None
        held.saved, held.ends = held.seconds, self.clock.monotonic() + held.seconds

    async def revoke(self, index: int) -> None:
        lease = self.which(index)
        found = await outcome(lambda: self.store.revoke(lease))
        assert found == self.model.end(lease)
        self.held.pop(lease, None)

    async def time(self, seconds: int) -> None:
        """Leases end; in which order their keys go is the driver's to say, which of them is not."""
        watch = self.store.watch("", self.model.revision)
        await self.clock.advance(seconds)
        ended = {n for n, held in self.held.items() if held.ends <= self.clock.monotonic()}
        keys = {key for key, number in self.model.held.items() if number in ended}
        events: list[Any] = []
        while len(events) < len(keys):
            async with asyncio.timeout(60):
                events += await watch.next()
        watch.close()
        assert {(e.key, e.type.value) for e in events} == {(key, "delete") for key in keys}
        for event in events:
            self.model.delete(event.key, self.model.now[event.key].revision)
            assert change(event) == self.model.changes[-1]
        for number in ended:
            assert self.model.end(number) is None
            del self.held[number]
        # The end of a lease without keys is nobody's to hear of, so a crash may come before it is durable. Writes are
        # so in their order: once this one is, all ends are.
        await self.store.revoke(await self.store.grant(60))

    async def check(self) -> None:
        assert await self.store.check() == []

    async def reopen(self) -> None:
        if self.durable:
            for held in self.held.values():
                held.saved = held.ends - self.clock.monotonic()
            await self._go_on_in(self.url, close_first=True)

    async def crash(self) -> None:
        if not self.durable:
            return
        copy = self._next()
        path = self.url.removeprefix("sqlite:")
        for suffix in ("", "-wal"):
            shutil.copyfile(path + suffix, copy + suffix)
        for held in self.held.values():
            held.ends = self.clock.monotonic() + held.saved
        await self._go_on_in(f"sqlite:{copy}", close_first=False)

    async def backup(self) -> None:
        copy = self._next()
        assert await self.store.backup(copy) == self.model.revision
        if not self.durable:
            return
        for held in self.held.values():
            held.ends = self.clock.monotonic() + held.saved
        await self._go_on_in(f"sqlite:{copy}", close_first=False)

    async def _go_on_in(self, url: str, *, close_first: bool) -> None:
        await self.drain()
        for watch, _, _ in self.watches:
            watch.close()
        self.watches = []
        if close_first:
            await self.store.close()
        store = await open_store(url, keep=self.keep, clock=self.clock)
        if not close_first:
            await self.store.close()
        self.url, self.store = url, store

    def _next(self) -> str:
        self.turn += 1
        return f"{self.directory}/turn{self.turn}"


PLAIN = st.one_of(
    st.tuples(st.just("create"), FEW, VALUES),
    st.tuples(st.just("update"), FEW, VALUES, st.just("right")),
    st.tuples(st.just("delete"), FEW, st.just("right")),
    st.tuples(st.just("reopen")),
)


@pytest.mark.parametrize("driver", DRIVERS)
@QUICK
@given(
    steps=st.lists(STEPS | PLAIN | LEASED | LEASED | LEASED, min_size=15, max_size=40),
    window=st.sampled_from([1, 10_000]),
)
def test_leases_and_the_model_agree(driver: str, steps: list[tuple[Any, ...]], window: int) -> None:
    root = tempfile.mkdtemp(prefix="ground-test-", dir="/dev/shm")
    keep = Retention(seconds=0, revisions=0, in_memory=window)

    async def scenario() -> None:
        url, clock = driver.format(root=root), VirtualClock()
        pair = LeasedPair(root, url, keep, await open_store(url, keep=keep, clock=clock), clock)
        try:
            for step in (("grant", 20), ("create", "/a", b""), ("grant", 4), ("create_leased", "/b/1", b"", 0), *steps):
                await pair.step(*step)
            await pair.drain()
        finally:
            await pair.store.close()

    try:
        asyncio.run(scenario())
    finally:
        shutil.rmtree(root)
