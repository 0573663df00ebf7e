"""A process that writes to a store and says on standard output what was acknowledged, until somebody kills it.

python store_victim.py URL ROUND
"""

from __future__ import annotations

import asyncio
import os
import sys

from groundplane.store.contract import Store
from groundplane.store.registry import open_store


async def writer(store: Store, name: str) -> None:
    """Create, update twice, delete every other key; one line `revision kind key value` an answer."""
    for count in range(1_000_000):
        key, value = f"/registry/{name}/{count}", f"{name}-{count}-" + "x" * (count * 37 % 3000)
        revision = await store.create(key, value.encode())
        say(revision, "create", key, value)
        for again in ("a", "b"):
            revision = await store.update(key, (value + again).encode(), revision)
            say(revision, "update", key, value + again)
        if count % 2:
            revision = await store.delete(key, revision)
            say(revision, "delete", key, value + "b")


async def leaser(store: Store, name: str) -> None:
    """Keys on a lease, which is ended: what happens to them is told as the watch shows it."""
    watch = store.watch(f"/leased/{name}/", store.revision)
    for count in range(1_000_000):
        lease = await store.grant(600)
        keys = [f"/leased/{name}/{count}-{n}" for n in range(5)]
        await asyncio.gather(*(store.create(key, key.encode(), lease=lease) for key in keys))
        await store.revoke(lease)
        for event in watch.pending():
            say(event.revision, event.type.value, event.key, event.value.decode())


def say(revision: int, kind: str, key: str, value: str) -> None:
    # One write(2) a line, unbuffered, so that a line is either said or not.
    os.write(1, f"{revision} {kind} {key} {value}\n".encode())


async def main(url: str, number: str) -> None:
    store = await open_store(url)
    writers = [writer(store, f"r{number}w{n}") for n in range(8)]
    await asyncio.gather(*writers, leaser(store, f"r{number}"), compactor(store))


async def compactor(store: Store) -> None:
    """Compaction runs meanwhile, so that some kills hit it."""
    while True:
        before = store.revision
        while store.revision < before + 400:
            await asyncio.sleep(0)
        await store.compact(max(1, store.revision - 5000))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
