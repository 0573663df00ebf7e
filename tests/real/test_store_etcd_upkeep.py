"""History is forgotten by one of all servers, as by upstream's: five minutes are kept."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fakes import etcd
from tests.fakes.clock import VirtualClock

from groundplane.store.contract import Store
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")
KEY = b64encode(b"compact_rev_key").decode()


async def rest(clock: VirtualClock, stores: Sequence[Store]) -> None:
    """Return once all stores have seen the newest revision and wait for their next turn: two tasks of each."""
    async with asyncio.timeout(60):
        while clock.sleepers < 2 * len(stores):
            await asyncio.sleep(0.01)
    for store in stores:
        await store.sync()


async def turn(clock: VirtualClock, member: etcd.Member, before: int) -> int:
    """Five minutes pass; the version of upstream's key once somebody has written it."""
    await clock.advance(300)
    async with asyncio.timeout(60):
        while True:
            found = (await asyncio.to_thread(member.call, "/v3/kv/range", key=KEY)).get("kvs") or [{"version": "0"}]
            if (version := int(found[0]["version"])) > before:
                return version
            await asyncio.sleep(0.01)


def test_servers_compact_by_turns(state_root: Path) -> None:
    async def scenario(server: etcd.Cluster) -> None:
        [member] = server.members
        clock = VirtualClock()
        stores: list[Store] = [await open_store(server.url(), clock=clock) for _ in range(3)]
        try:
            first = await stores[0].create("/a", b"1")
            await rest(clock, stores)
            await clock.advance(300)  # what is there now is what the next look may forget
            second = await stores[1].update("/a", b"2", first)
            await rest(clock, stores)
            assert await turn(clock, member, 0) == 1, "one of three"
            async with asyncio.timeout(60):
                while (oldest := (await stores[2].status()).oldest) == 0:
                    await asyncio.sleep(0.01)
            assert first <= oldest < second
            await rest(clock, stores)
            assert await turn(clock, member, 1) == 2
            async with asyncio.timeout(60):
                while (await stores[2].status()).oldest < second:
                    await asyncio.sleep(0.01)
            assert (await stores[0].get("/a")) is not None
        finally:
            for store in stores:
                await store.close()

    with etcd.cluster(state_root) as server:
        asyncio.run(asyncio.wait_for(scenario(server), 120))
