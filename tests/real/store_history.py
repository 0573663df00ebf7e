"""A process with a short history of a store in it, every answer told on standard output; for tests of power cuts.

python store_history.py DIRECTORY written      writes, leases, compaction, closing and opening again
python store_history.py DIRECTORY restored     a backup, later writes, and the backup in the place of the store
"""

from __future__ import annotations

import asyncio
import os
import sys

from groundplane.store import moves
from groundplane.store.contract import Event, Store, Watch
from groundplane.store.registry import open_store


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def told(watch: Watch) -> None:
    for event in watch.pending():
        say_event(event)


def say_event(event: Event) -> None:
    say("wrote", event.revision, event.type.value, event.key, event.value.decode())


async def write(store: Store, name: str, count: int) -> None:
    """Create, update, delete; some at once, so that a commit has several rows."""
    watch = store.watch("", store.revision)
    for number in range(count):
        key, value = f"/{name}/{number}", f"{name}-{number}-" + "x" * (number * 977 % 9000)
        revision, *_ = await asyncio.gather(
            store.create(key, value.encode()), *(store.create(f"{key}/{n}", b"beside") for n in range(number % 4))
        )
        told(watch)
        if number % 3:
            revision = await store.update(key, b"changed", revision)
            told(watch)
        if number % 3 == 2:
            await store.delete(key, revision)
            told(watch)
    watch.close()


async def written(url: str) -> None:
    for turn in range(3):
        store = await open_store(url)
        await write(store, f"first{turn}", 12)
        lease, watch = await store.grant(600), store.watch("", store.revision)
        await asyncio.gather(*(store.create(f"/leased{turn}/{n}", b"l", lease=lease) for n in range(5)))
        told(watch)
        await store.revoke(lease)
        told(watch)
        watch.close()
        await store.compact(max(1, store.revision - 20))
        await write(store, f"second{turn}", 6)
        await store.close()
    say("end")


async def restored(url: str) -> None:
    path = url.removeprefix("sqlite:")
    store = await open_store(url)
    await write(store, "kept", 4)
    await store.backup(path + ".copy")
    say("backed-up")
    await write(store, "lost", 4)
    await store.close()
    say("begin")
    await moves.restore(path + ".copy", url, aside=True)
    say("end")


if __name__ == "__main__":
    asyncio.run({"written": written, "restored": restored}[sys.argv[2]](f"sqlite:{sys.argv[1]}/store.db"))
