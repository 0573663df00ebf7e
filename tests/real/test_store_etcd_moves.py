"""A cluster's truth moves between drivers: a file to etcd, a backup of etcd to a file and to etcd again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.fakes import etcd

from groundplane.store import moves
from groundplane.store.contract import Store, StoreError
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")


async def filled(url: str) -> dict[str, bytes]:
    store = await open_store(url)
    try:
        lease = await store.grant(600)
        await store.create("/leased", b"l", lease=lease)
        for n in range(60):
            revision = await store.create(f"/registry/k/{n:03}", b"1" * n)
            await store.update(f"/registry/k/{n:03}", b"2" * n, revision)
        return await everything(store)
    finally:
        await store.close()


async def everything(store: Store) -> dict[str, bytes]:
    assert await store.check() == []
    return {e.key: e.value for e in (await store.list("")).entries}


async def shown(url: str) -> tuple[dict[str, bytes], int]:
    store = await open_store(url)
    try:
        return await everything(store), store.revision
    finally:
        await store.close()


def test_from_a_file_to_etcd_and_back(state_root: Path) -> None:
    async def scenario(server: etcd.Cluster) -> None:
        file, backup = f"sqlite:{state_root}/one.db", str(state_root / "backup")
        truth = await filled(file)
        before = (await shown(file))[1]
        await moves.migrate(file, server.url("/one"))
        there, revision = await shown(server.url("/one"))
        assert there == truth
        assert revision >= before, "no client meets a revision that it knows from before"
        with pytest.raises(StoreError, match="keys already"):
            await moves.migrate(file, server.url("/one"))
        store = await open_store(server.url("/one"))
        moment = await store.backup(backup)
        await store.close()
        await moves.restore(backup, f"sqlite:{state_root}/two.db")
        again, later = await shown(f"sqlite:{state_root}/two.db")
        assert (again, later > moment) == (truth, True)
        await moves.restore(backup, server.url("/two"))
        assert (await shown(server.url("/two")))[0] == truth
        assert (await shown(server.url("/one")))[0] == truth, "prefixes do not meet"

    with etcd.cluster(state_root) as server:
        asyncio.run(asyncio.wait_for(scenario(server), 120))
