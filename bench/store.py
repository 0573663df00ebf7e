"""The store's marks: durable writes from 64 writers, one writer alone, reads, fan-out; beside the disk's own fsync.

python bench/store.py [--dir DIR] [--seconds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

from groundplane.store.contract import Store
from groundplane.store.registry import open_store

VALUE = os.urandom(1024)


def fsync_floor(directory: str) -> float:
    """Median seconds of one 4 KB append and fdatasync: what no durable write can beat."""
    path = os.path.join(directory, "floor")
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    taken = []
    for _ in range(200):
        os.write(fd, VALUE * 4)
        begin = time.perf_counter()
        os.fdatasync(fd)
        taken.append(time.perf_counter() - begin)
    os.close(fd)
    os.unlink(path)
    return statistics.median(taken)


async def creates(store: Store, writers: int, seconds: float) -> tuple[float, list[float]]:
    """Creates a second, and how long each took."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        count = 0
        while (begin := time.perf_counter()) < end:
            await store.create(f"/registry/pods/bench-{number}/{writers}-{count:08}", VALUE)
            taken.append(time.perf_counter() - begin)
            count += 1

    begin = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(writers)))
    return len(taken) / (time.perf_counter() - begin), taken


async def updates(store: Store, writers: int, seconds: float) -> tuple[float, list[float]]:
    """Updates a second of one key per writer, and how long each took."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        key = f"/registry/leases/bench/{writers}-{number}"
        revision = await store.create(key, VALUE)
        while (begin := time.perf_counter()) < end:
            revision = await store.update(key, VALUE, revision)
            taken.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(writers)))
    return len(taken) / (time.perf_counter() - begin), taken


async def repeat(what: Callable[[], Awaitable[object]], times: int) -> float:
    """Median seconds of one call."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        await what()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


async def run(directory: str, seconds: float) -> None:
    print(f"disk: fdatasync of 4 KB              {fsync_floor(directory) * 1e3:8.3f} ms (median)")
    store = await open_store(f"sqlite:{directory}/store.db")
    for name, work, writers in (
        ("create, 1 writer", creates, 1),
        ("create, 16 writers", creates, 16),
        ("create, 64 writers", creates, 64),
        ("update, 64 writers", updates, 64),
    ):
        rate, taken = await work(store, writers, seconds)
        p50, p99 = quantile(taken, 0.5) * 1e3, quantile(taken, 0.99) * 1e3
        print(f"{name:36} {rate:8.0f} /s   p50 {p50:.3f} ms  p99 {p99:.3f} ms")
    watches = [store.watch(f"/registry/pods/bench-{n % 64}/", store.revision) for n in range(200)]
    rate, _ = await creates(store, 63, seconds)
    seen = sum(len(w.pending()) for w in watches)
    print(f"{'create, 63 writers, 200 watches':36} {rate:8.0f} /s   {seen / seconds:.0f} events/s delivered")
    entries = (await store.list("/registry/", limit=17_000)).entries
    print(f"list of {len(entries)} of {await store.count('')} keys", end="")
    took = await repeat(lambda: store.list("/registry/", limit=17_000), 20)
    print(f"            {took * 1e3:8.3f} ms")
    took = await repeat(lambda: store.get(entries[0].key), 1000)
    print(f"get                                  {took * 1e6:8.2f} us")
    now = store.revision
    took = await repeat(lambda: store.get(entries[0].key, now - 20_000), 200)
    print(f"get 20,000 revisions ago (SQL)       {took * 1e3:8.3f} ms")
    count = await store.count("")
    await store.close()
    begin = time.perf_counter()
    store = await open_store(f"sqlite:{directory}/store.db")
    print(f"open with {count} keys              {(time.perf_counter() - begin) * 1e3:8.0f} ms")
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", default=None, help="where the file is made (default: a new directory of /tmp)")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="ground-bench-", dir=options.dir or "/tmp")
    try:
        asyncio.run(run(directory, options.seconds))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
