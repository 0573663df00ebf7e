"""A write whose answer, or question, was lost: it is found out what became of it, and it never happens twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes import etcd
from tests.fakes.etcd_proxy import Proxy

from groundplane.store.contract import Conflict, Event, KeyExists, Store, StoreUnavailable
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")

Scenario = Callable[[Store, Store, Proxy], Awaitable[None]]


def played(root: Path, scenario: Scenario) -> None:
    """`scenario` with a store behind the proxy and another one that speaks with etcd itself."""

    async def play(server: etcd.Cluster) -> None:
        async with Proxy(server.members[0]) as proxy, asyncio.timeout(120):
            behind = await open_store(f"etcd://{proxy.address}")
            beside = await open_store(server.url())
            try:
                await scenario(behind, beside, proxy)
            finally:
                await behind.close()
                await beside.close()

    with etcd.cluster(root) as server:
        asyncio.run(play(server))


async def history(store: Store, key: str) -> list[tuple[str, bytes, int]]:
    """What happened to a key, as etcd itself tells."""
    await store.sync()
    watch = store.watch(key, 0)
    found: list[Event] = []
    try:
        async with asyncio.timeout(60):
            while not found or found[-1].revision < (await last(store, key)):
                found += await watch.next()
    finally:
        watch.close()
    return [(e.type.value, e.value, e.revision) for e in found]


async def last(store: Store, key: str) -> int:
    entry = await store.get(key)
    return entry.revision if entry else 0


@pytest.mark.parametrize("lost", ["answer", "question"])
def test_a_write_whose_connection_is_cut_happens_once(lost: str, state_root: Path) -> None:
    async def scenario(behind: Store, beside: Store, proxy: Proxy) -> None:
        watch = beside.watch("/", beside.revision)
        proxy.lose(lost, "/a")
        first = await behind.create("/a", b"1")
        proxy.lose(lost, "/a")
        second = await behind.update("/a", b"2", first)
        proxy.lose(lost, "/a")
        third = await behind.delete("/a", second)
        assert proxy.lost == 3
        await beside.sync()
        seen = [(e.type.value, e.value, e.revision) for e in watch.pending() if e.key == "/a"]
        assert seen == [("create", b"1", first), ("update", b"2", second), ("delete", b"2", third)]
        watch.close()

    played(state_root, scenario)


def test_a_late_creation_does_not_bring_back_what_was_deleted(state_root: Path) -> None:
    """A paused member carries out what it had received; by then the key has been created and deleted again."""

    async def scenario(behind: Store, beside: Store, proxy: Proxy) -> None:
        proxy.lose("late", "/a")
        revision = await behind.create("/a", b"1")
        await beside.sync()
        await beside.delete("/a", revision)
        [answer] = await proxy.deliver()
        assert b'"succeeded":true' not in answer
        assert await beside.get("/a") is None

    played(state_root, scenario)


def test_the_same_bytes_from_another_server_are_not_taken_for_ours(state_root: Path) -> None:
    """Both servers replace the same revision by the same bytes; one question is lost: one of them has won, not both."""

    async def scenario(behind: Store, beside: Store, proxy: Proxy) -> None:
        revision = await behind.create("/a", b"1")
        await beside.sync()
        proxy.lose("late", "/a")
        ours = asyncio.create_task(behind.update("/a", b"2", revision))
        while not proxy.lost:
            await asyncio.sleep(0)
        theirs = await asyncio.gather(beside.update("/a", b"2", revision), return_exceptions=True)
        results = [*await asyncio.gather(ours, return_exceptions=True), *theirs]
        assert sum(isinstance(r, int) for r in results) == 1
        assert sum(isinstance(r, Conflict) for r in results) == 1
        await proxy.deliver()
        assert len(await history(beside, "/a")) == 2

    played(state_root, scenario)


def test_a_creation_that_another_server_beat_is_refused(state_root: Path) -> None:
    async def scenario(behind: Store, beside: Store, proxy: Proxy) -> None:
        await beside.create("/a", b"same")
        proxy.lose("question", "/a")
        with pytest.raises(KeyExists):
            await behind.create("/a", b"same")

    played(state_root, scenario)


def test_many_losses_at_once_settle(state_root: Path) -> None:
    async def scenario(behind: Store, beside: Store, proxy: Proxy) -> None:
        for n in range(60):
            if n % 3:
                proxy.lose(("answer", "question")[n % 2], f"/k/{n}")
        revisions = await asyncio.gather(*(behind.create(f"/k/{n}", b"%d" % n) for n in range(60)))
        page = await beside.list("/k/")
        assert sorted((e.key, e.revision) for e in page.entries) == sorted(
            (f"/k/{n}", revision) for n, revision in enumerate(revisions)
        )
        assert all(e.created == e.revision for e in page.entries)

    played(state_root, scenario)


def test_a_fence_that_is_gone_is_put_again(state_root: Path) -> None:
    """Its lease can end while etcd was away for an hour: writes go on."""

    async def scenario(behind: Store, beside: Store, proxy: Proxy) -> None:
        revision = await behind.create("/a", b"1")
        for lease in proxy.member.call("/v3/lease/leases")["leases"]:
            proxy.member.call("/v3/lease/revoke", ID=lease["ID"])
        revision = await behind.update("/a", b"2", revision)
        assert await behind.delete("/a", revision) > revision

    played(state_root, scenario)


def test_no_member_answers(state_root: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(StoreUnavailable, match="no member of etcd answers"):
            await open_store("etcd://127.0.0.1:1?timeout=0.2")

    asyncio.run(scenario())
