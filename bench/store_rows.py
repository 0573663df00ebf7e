"""The store alone, on SQLite: durable writes beside the disk's own fsync, lists, watches, memory, recovery, backup."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from bench.rows import Figure, Goal, Row
from bench.yardsticks import fsync, sqlite_commits

from groundplane.store.contract import Store
from groundplane.store.drivers.sqlite import log
from groundplane.store.registry import open_store
from groundplane.store.retention import Retention

_VALUE = os.urandom(1024)
_KEYS = 20_000
_OBJECTS = 50_000
_WATCHERS = 1000
_FOREVER = Retention(seconds=0, revisions=0, size=0)
_WRITE = "store.create(key, 1 KB) in one process, no API server"
# Resident memory before and after, in a process of its own: what is freed by Python is not always given back.
_GROWTH = """
import asyncio, sys
from groundplane.store.registry import open_store
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
async def main():
    empty = await open_store("sqlite:" + sys.argv[2]); before = resident()
    full = await open_store("sqlite:" + sys.argv[1])
    print(resident() - before); await full.close(); await empty.close()
asyncio.run(main())
"""


def store_rows(*, rounds: int, seconds: float, revisions: int) -> list[Row]:
    """`revisions` is the length of the log that is opened and backed up."""
    with tempfile.TemporaryDirectory(prefix="ground-bench-") as directory:
        disk = fsync(directory, 200)
        commits = sqlite_commits(directory, seconds)
        rows = asyncio.run(_running(directory, rounds, seconds, disk, commits))
        return rows + asyncio.run(_long_log(directory, revisions, seconds))


async def _running(directory: str, rounds: int, seconds: float, disk: Figure, commits: Figure) -> list[Row]:
    store = await open_store(f"sqlite:{directory}/store.db", keep=_FOREVER)
    try:
        alone = Figure(await _latencies(store, seconds))
        many = Figure([await _rate(store, 64, seconds, n) for n in range(max(3, rounds // 4))], "/s")
        await _fill(store, "/list/", _KEYS)
        lists = Figure([await _milliseconds(lambda: store.list("/list/")) for _ in range(rounds)])
        fanned, events = await _fan_out(store, seconds)
    finally:
        await store.close()
    peers = {"fdatasync of 4 KB, here": disk}
    return [
        Row("durable write alone, 1 KB", alone, _WRITE, peers, Goal(0.5), f"p99 {alone.quantile(0.99):.2f} ms"),
        Row(
            "durable writes, 1 KB, 64 writers", many, _WRITE, {"SQLite's own, one writer, no group commit": commits},
            Goal(15_000, at_least=True), f"fdatasync of 4 KB took {disk.median:.2f} ms at that time",
        ),
        Row(f"list of {_KEYS:,} keys, 1 KB values", lists, "store.list(prefix)"),
        Row(f"write alone with {_WATCHERS:,} watchers of its prefix", fanned, f"{_WRITE}; each watch is drained",
            peers, note=f"{events:,.0f} events a second reach a watcher"),
    ]  # fmt: skip


async def _long_log(directory: str, revisions: int, seconds: float) -> list[Row]:
    path, backup = f"{directory}/long.db", f"{directory}/backup"
    await asyncio.to_thread(_write_log, path, revisions)
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        store = await open_store(f"sqlite:{path}", keep=_FOREVER)
        taken.append((time.perf_counter() - begin) * 1e3)
        await store.close()
    await asyncio.to_thread(_write_log, f"{directory}/once.db", _OBJECTS, _OBJECTS)
    grown = await asyncio.to_thread(_growth, f"{directory}/once.db", f"{directory}/empty.db")
    store = await open_store(f"sqlite:{path}", keep=_FOREVER)
    try:
        before = await _rate(store, 64, seconds, 1)
        writing = asyncio.ensure_future(_counted(store, copying := asyncio.Event()))
        begin = time.perf_counter()
        await store.backup(backup)
        copied = time.perf_counter() - begin
        copying.set()
        meanwhile = await writing / copied
    finally:
        await store.close()
    size = os.stat(backup).st_size / 1e6
    return [
        Row(f"opening a log of {revisions:,} revisions, {_KEYS:,} keys", Figure(taken), "open_store(url)",
            note="also what a restart after a kill takes; the file is in the page cache"),
        Row("memory per object of 1 KB", Figure([grown / _OBJECTS], "B"), "resident memory, opened less empty",
            note=f"{_OBJECTS:,} objects; the value, its key and the 10,000 newest changes included"),
        Row(f"online backup of {size:,.0f} MB", Figure([copied * 1e3]), "store.backup(path)",
            note=f"{size / copied:,.0f} MB/s, fsync included"),
        Row("durable writes, 64 writers, during the backup", Figure([meanwhile], "/s"), _WRITE,
            {"before it": Figure([before], "/s")}),
    ]  # fmt: skip


def _growth(full: str, empty: str) -> int:
    words = [sys.executable, "-c", _GROWTH, full, empty]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def _write_log(path: str, revisions: int, keys: int = _KEYS) -> None:
    """Rows as the store would have written them, without its fsyncs."""

    def rows() -> object:
        for revision in range(1, revisions + 1):
            number = revision % keys
            created = number or keys
            yield (revision, f"/registry/pods/ns-{number % 100}/pod-{number:08}", created,
                   revision - keys if revision > keys else 0, 0, _VALUE, 0)  # fmt: skip

    db = log.connect(path, write=True)
    try:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        db.executemany("INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?)", rows())  # type: ignore[arg-type]
        db.execute("COMMIT")
    finally:
        db.close()


async def _latencies(store: Store, seconds: float) -> list[float]:
    """Milliseconds of each create, one after the other."""
    taken, end = [], time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await store.create(f"/registry/alone/{len(taken):08}", _VALUE)
        taken.append((time.perf_counter() - begin) * 1e3)
    return taken


async def _rate(store: Store, writers: int, seconds: float, round_: int) -> float:
    """Creates a second of so many writers at once."""
    done, end = 0, time.perf_counter() + seconds

    async def one(number: int) -> None:
        nonlocal done
        count = 0
        while time.perf_counter() < end:
            await store.create(f"/registry/many/{round_}-{number}-{count:08}", _VALUE)
            count += 1
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(writers)))
    return done / (time.perf_counter() - begin)


async def _counted(store: Store, until: asyncio.Event) -> int:
    """How many creates 64 writers got answered until then."""
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        count = 0
        while not until.is_set():
            await store.create(f"/registry/meanwhile/{number}-{count:08}", _VALUE)
            count += 1
            done += not until.is_set()

    await asyncio.gather(*(one(n) for n in range(64)))
    return done


async def _fill(store: Store, prefix: str, count: int) -> None:
    for at in range(0, count, 500):
        await asyncio.gather(*(store.create(f"{prefix}{n:08}", _VALUE) for n in range(at, at + 500)))


async def _fan_out(store: Store, seconds: float) -> tuple[Figure, float]:
    """Milliseconds of a write until every watcher has its event in hand; events a second in all."""
    watches = [store.watch("/watched/", store.revision) for _ in range(_WATCHERS)]
    taken, seen, begin = [], 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        once = time.perf_counter()
        await store.create(f"/watched/{len(taken):08}", _VALUE)
        seen += sum(len(watch.pending()) for watch in watches)
        taken.append((time.perf_counter() - once) * 1e3)
    rate = seen / (time.perf_counter() - begin)
    for watch in watches:
        watch.close()
    return Figure(taken), rate


async def _milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await work()
    return (time.perf_counter() - begin) * 1e3
