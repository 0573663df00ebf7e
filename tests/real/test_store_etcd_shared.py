"""Several stores on one etcd: what one was answered, the others have after `sync`; prefixes do not meet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes import etcd

from groundplane.store.contract import Store
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")


def played(root: Path, prefixes: tuple[str, ...], scenario: Callable[..., Awaitable[None]]) -> None:
    async def play(server: etcd.Cluster) -> None:
        stores: list[Store] = [await open_store(server.url(prefix)) for prefix in prefixes]
        try:
            async with asyncio.timeout(120):
                await scenario(*stores)
        finally:
            for store in stores:
                await store.close()

    with etcd.cluster(root) as server:
        asyncio.run(play(server))


def test_sync_brings_what_others_were_answered(state_root: Path) -> None:
    async def scenario(one: Store, other: Store) -> None:
        watch = other.watch("/", other.revision)
        for n in range(100):
            revision = await one.create(f"/k/{n}", b"%d" % n)
            assert await other.sync() >= revision
            assert [e.revision for e in watch.pending()] == [revision]
            seen = await other.get(f"/k/{n}")
            assert seen is not None and seen.revision == revision
        watch.close()

    played(state_root, ("", ""), scenario)


def test_many_who_ask_at_once_see_what_was_answered_before_they_asked(state_root: Path) -> None:
    async def scenario(one: Store, other: Store) -> None:
        async def ask(n: int) -> None:
            revision = await one.create(f"/k/{n}", b"")
            assert await other.sync() >= revision
            assert other.revision >= revision

        await asyncio.gather(*(ask(n) for n in range(300)))

    played(state_root, ("", ""), scenario)


def test_what_happens_under_another_prefix_is_nobodys_business_here(state_root: Path) -> None:
    async def scenario(mine: Store, theirs: Store) -> None:
        watch = mine.watch("", mine.revision)
        revision = await mine.create("/registry/a", b"mine")
        foreign = [await theirs.create(f"/registry/{n}", b"theirs") for n in range(20)]
        assert await mine.sync() >= foreign[-1], "although none of it is seen"
        await theirs.create("/registry/a", b"theirs")
        changed = await mine.update("/registry/a", b"still mine", revision)
        assert [e.revision for e in watch.pending()] == [revision, changed]
        assert [(e.key, e.value) for e in (await mine.list("")).entries] == [("/registry/a", b"still mine")]
        assert (await mine.status()).keys == 1 and await mine.check() == []
        assert [e.value for e in (await mine.list("", revision=revision)).entries] == [b"mine"]
        again = mine.watch("/registry/", 0)
        assert [e.value for e in await again.next()] == [b"mine", b"still mine"]
        again.close()
        watch.close()

    played(state_root, ("/one", "/two"), scenario)


def test_keys_of_one_lease_end_at_one_revision(state_root: Path) -> None:
    """And every watcher, on every server, is told of each of them."""

    async def scenario(one: Store, other: Store) -> None:
        lease = await one.grant(60)
        for n in range(5):
            await one.create(f"/l/{n}", b"%d" % n, lease=lease)
        await other.sync()
        watches = [one.watch("/l/", one.revision), other.watch("/l/", other.revision)]
        await one.revoke(lease)
        await other.sync()
        for watch in watches:
            events = watch.pending()
            assert sorted((e.key, e.value) for e in events) == [(f"/l/{n}", b"%d" % n) for n in range(5)]
            assert len({e.revision for e in events}) == 1
            watch.close()

    played(state_root, ("/p", "/p"), scenario)
