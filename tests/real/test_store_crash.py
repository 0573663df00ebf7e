"""The SQLite store against `kill -9`, a full disk and a second owner."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groundplane.store.contract import Compacted, Event, Store, StoreUnavailable
from groundplane.store.registry import open_store

VICTIM = Path(__file__).with_name("store_victim.py")


def killed_after(url: str, number: int, answers: int) -> list[str]:
    """Run the victim, kill it -9 once it has acknowledged `answers` writes; every line it got out."""
    with subprocess.Popen(
        [sys.executable, str(VICTIM), url, str(number)], stdout=subprocess.PIPE, text=True, bufsize=1
    ) as victim:
        try:
            assert victim.stdout is not None
            said = [line for _, line in zip(range(answers), victim.stdout, strict=False)]
        finally:
            victim.kill()
        return said + [line for line in victim.stdout if line.endswith("\n")]


async def everything(url: str) -> tuple[list[Event], dict[str, tuple[bytes, int]], int]:
    """The log that is kept, the newest state, and its revision."""
    store = await open_store(url)
    try:
        try:
            watch = store.watch("", 0)
        except Compacted as compacted:
            watch = store.watch("", compacted.oldest)
        assert await store.check() == []
        page = await store.list("")
        return watch.pending(), {e.key: (e.value, e.revision) for e in page.entries}, store.revision
    finally:
        await store.close()


def test_no_acknowledged_write_is_lost(state_root: Path) -> None:
    url = f"sqlite:{state_root}/store.db"
    revision = 0
    for number in range(12):
        said = killed_after(url, number, 50 + number * 97)
        events, living, newest = asyncio.run(everything(url))
        assert [e.revision for e in events] == list(range(events[0].revision, newest + 1))
        log = {e.revision: e for e in events}
        acknowledged = [line.rstrip("\n").split(" ", 3) for line in said]
        assert len(acknowledged) >= 50 + number * 97, "the victim ended by itself"
        last: dict[str, tuple[int, str, str]] = {}
        for text, kind, key, value in acknowledged:
            assert int(text) > revision, "a revision was given twice"
            if event := log.get(int(text)):
                assert (event.type.value, event.key, event.value) == (kind, key, value.encode())
            last[key] = (int(text), kind, value)
        for key, (at, kind, value) in last.items():
            # The next write of the key may have become durable without anybody hearing of it.
            unheard = [e for e in events if e.key == key and e.revision > at]
            if not unheard and kind == "delete":
                assert key not in living
            elif not unheard:
                assert living[key] == (value.encode(), at)
        revision = newest


@pytest.mark.needs("root")
def test_a_full_disk_refuses_and_recovers(state_root: Path) -> None:
    disk = state_root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)

    async def scenario() -> None:
        url = f"sqlite:{disk}/store.db"
        store = await open_store(url)
        try:
            await filled_up(store, disk / "ballast")
            newest = store.revision
        finally:
            await store.close()
        store = await open_store(url)
        try:
            assert (store.revision, await store.count("")) == (newest, newest)
        finally:
            await store.close()

    try:
        asyncio.run(asyncio.wait_for(scenario(), 120))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def filled_up(store: Store, ballast: Path) -> None:
    """Meet a full disk with one large batch, and then with single writes; write again once there is room."""
    watch = store.watch("", 0)
    batch = (store.create(f"/k/{n:03}", b"x" * 10_000) for n in range(200))
    answers = await asyncio.gather(*batch, return_exceptions=True)
    refused = [a for a in answers if isinstance(a, StoreUnavailable)]
    assert len(refused) == 200, "one batch, which is written as a whole or not at all"
    assert "full" in str(refused[0])
    assert (store.revision, await store.count(""), watch.pending()) == (0, 0, [])
    revisions = await asyncio.gather(*(store.create(f"/k/{n:03}", b"small") for n in range(20)))
    assert sorted(revisions) == list(range(1, 21))
    room = os.statvfs(ballast.parent)
    ballast.write_bytes(b"x" * (room.f_bavail * room.f_bsize))
    written, failure = 20, None
    while failure is None:
        try:
            await store.create(f"/more/{written}", b"y" * 20_000)
            written += 1
        except StoreUnavailable as error:
            failure = error
    assert failure.retry
    ballast.unlink()
    assert await store.create("/after", b"there is room again") == written + 1


def test_a_second_owner_gets_a_sentence(state_root: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite:{state_root}/store.db"
        store = await open_store(url)
        with pytest.raises(StoreUnavailable, match="in use by another process"):
            await open_store(url)
        await store.close()
        again = await open_store(url)
        await again.close()

    asyncio.run(scenario())


def test_the_files_are_private(state_root: Path) -> None:
    async def scenario() -> None:
        store = await open_store(f"sqlite:{state_root}/store/data.db")
        await store.create("/secret", b"s")
        names = {p.name: p.stat().st_mode & 0o777 for p in (state_root / "store").iterdir()}
        assert names and set(names.values()) == {0o600}
        await store.close()

    asyncio.run(scenario())


def test_a_file_that_is_no_store_is_refused(state_root: Path) -> None:
    (state_root / "store.db").write_bytes(b"not a database, certainly not one of SQLite's" * 100)
    with pytest.raises(StoreUnavailable, match=r"store\.db"):
        asyncio.run(open_store(f"sqlite:{state_root}/store.db"))  # type: ignore[arg-type]
