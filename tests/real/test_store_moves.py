"""Moving a store to a real etcd and back, and a backup into one, by the commands' own functions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.fakes import etcd

from groundplane.daemon import storecare
from groundplane.store import moves
from groundplane.store.contract import Store, StoreError
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")
KEYS = [f"/registry/configmaps/default/m{n:03}" for n in range(300)]


async def filled(url: str) -> None:
    store = await open_store(url)
    lease = await store.grant(600)
    for at in range(0, len(KEYS), 50):
        await asyncio.gather(*(store.create(key, key.encode()) for key in KEYS[at : at + 50]))
    revision = await store.create("/registry/events/default/e", b"1", lease=lease)
    for number in range(200):
        revision = await store.update("/registry/events/default/e", b"%d" % number, revision, lease=lease)
    await store.close()


async def state(store: Store) -> dict[str, bytes]:
    return {e.key: e.value for e in (await store.list("")).entries}


def test_to_etcd_and_back(state_root: Path) -> None:
    here, back = f"sqlite:{state_root}/store.db", f"sqlite:{state_root}/back.db"
    asyncio.run(filled(here))
    with etcd.cluster(state_root) as server:
        there = server.url("/moved")
        done = storecare.migrate(here, there)
        assert done["keys"] == len(KEYS) + 1
        assert done["revision"] >= 501, "no client has seen a higher revision than the new ones will be"
        assert done["behind"] == 0
        with pytest.raises(StoreError, match="keys already"):
            storecare.migrate(here, there)
        assert storecare.check_stopped(there) == []
        again = storecare.migrate(there, back)
        assert again["keys"] == len(KEYS) + 1 and again["revision"] >= done["revision"]
        asyncio.run(same(here, there, back))


async def same(here: str, there: str, back: str) -> None:
    before, between, after = [await open_store(url) for url in (here, there, back)]
    try:
        assert await state(before) == await state(between) == await state(after)
        assert await after.check() == []
        status = await after.status()
        assert status.keys == len(KEYS) + 1
        leases = after._leases.all()  # type: ignore[attr-defined]
        assert [lease.keys for lease in leases] == [{"/registry/events/default/e"}], "the event still ends by itself"
    finally:
        for store in (before, between, after):
            await store.close()


def test_a_backup_goes_into_an_etcd_and_a_killed_one_is_cleared_away(state_root: Path) -> None:
    here, backup = f"sqlite:{state_root}/store.db", f"{state_root}/backup"
    asyncio.run(filled(here))
    storecare.on_stopped(here, lambda store: storecare.backup(store, backup))
    with etcd.cluster(state_root) as server:
        there = server.url("/restored")
        asyncio.run(half_done(there))
        with pytest.raises(StoreError, match="half of a restore"):
            storecare.on_stopped(there, storecare.refuse_unfinished)
        done = storecare.restore(backup, there, aside=False)
        assert done["keys"] == len(KEYS) + 1 and done["behind"] == 0
        storecare.on_stopped(there, storecare.refuse_unfinished)
        found = storecare.on_stopped(there, state)
        assert set(found) == {*KEYS, "/registry/events/default/e"}
        with pytest.raises(StoreError, match="keys already"):
            storecare.restore(backup, there, aside=False)


async def half_done(url: str) -> None:
    store = await open_store(url)
    await store.create(moves.UNFINISHED, b"")
    await store.create("/registry/configmaps/default/m001", b"half")
    await store.close()
