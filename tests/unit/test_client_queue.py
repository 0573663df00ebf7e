"""The work queue: client-go's promises."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.clock import VirtualClock

from groundplane.client.queue import QueueClosed, WorkQueue


def test_a_key_waits_once_and_is_never_held_twice(run) -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        queue.add("a")
        queue.add("a")
        queue.add("b")
        assert len(queue) == 2
        assert await queue.get() == "a"
        queue.add("a")  # while held: comes again only after done
        assert await queue.get() == "b"
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        queue.done("b")
        assert queue.is_quiet

    run(work())


def test_back_off_doubles_until_forget_and_is_bounded(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        waits = []
        for _ in range(20):
            before = clock.monotonic()
            queue.add_rate_limited("a")
            getting = asyncio.ensure_future(queue.get())
            while not getting.done():
                await clock.advance(0.005 if clock.monotonic() - before < 6 else 10)
            waits.append(clock.monotonic() - before)
            queue.done("a")
        assert waits[0] == pytest.approx(0.005)
        assert waits[3] == pytest.approx(0.04, abs=0.006)
        assert max(waits) <= 1010
        assert queue.requeues("a") == 20
        queue.forget("a")
        assert queue.requeues("a") == 0
        await queue.shut_down()

    run(work())


def test_of_two_delays_the_earlier_counts(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        queue.add_after("a", 10)
        queue.add_after("a", 2)
        queue.add_after("b", 5)
        await clock.advance(1)
        assert len(queue) == 0
        await clock.advance(1)
        assert await queue.get() == "a"
        queue.done("a")
        await clock.advance(20)
        assert await queue.get() == "b"
        assert len(queue) == 0  # the stale later delay of a does not count
        queue.done("b")
        await queue.shut_down()

    run(work())


def test_shut_down_drains_and_ends_waiting_workers(run) -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        queue.add("a")
        key = await queue.get()
        waiting = asyncio.ensure_future(queue.get())
        closing = asyncio.ensure_future(queue.shut_down(drain=True))
        await asyncio.sleep(0)
        assert not closing.done()
        queue.add("b")  # refused: closing
        queue.done(key)
        await closing
        with pytest.raises(QueueClosed):
            await waiting

    run(work())


def test_a_cancelled_worker_passes_its_wake_up_on(run) -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        first = asyncio.ensure_future(queue.get())
        second = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await second == "a"
        queue.done("a")

    run(work())
