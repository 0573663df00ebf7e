"""The SQLite store on media that fail, and on files that are not what they should be: a sentence, and recovery."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.fakes.clock import VirtualClock

from groundplane.base.errors import UsageError
from groundplane.daemon import storecare
from groundplane.store import moves
from groundplane.store.contract import Store, StoreError, StoreUnavailable
from groundplane.store.drivers.sqlite import check
from groundplane.store.registry import open_store

HISTORY = Path(__file__).with_name("store_history.py")
MOVER = Path(__file__).with_name("store_mover.py")
KILLS = int(os.environ.get("GROUND_STORE_KILLS", "12"))


def filled(path: Path, keys: int = 50, size: int = 2000) -> None:
    async def fill() -> None:
        store = await open_store(f"sqlite:{path}")
        for number in range(keys):
            await store.create(f"/k/{number:04}", b"v" * size)
        await store.close()

    asyncio.run(fill())


def refusal(path: Path) -> str:
    """The sentence with which a store is not opened."""

    async def attempt() -> None:
        store = await open_store(f"sqlite:{path}")
        await store.close()

    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(attempt())
    assert str(path) in str(caught.value)
    return str(caught.value)


@contextmanager
def mounted(directory: Path, *words: str) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", *words, str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


# files that are not what they should be


def test_a_garbled_file_is_a_sentence(state_root: Path) -> None:
    """Bytes are overwritten at many places: it is opened, checked and read with nothing but our own errors."""
    whole, path = state_root / "whole", state_root / "store.db"
    filled(whole, 300)
    chance, refused, found = random.Random(3), 0, 0
    for _ in range(60):
        content = bytearray(whole.read_bytes())
        at, length = chance.randrange(len(content)), chance.choice((1, 16, 512, 4096))
        content[at : at + length] = chance.randbytes(min(length, len(content) - at))
        path.write_bytes(content)
        problems = check.problems(str(path))
        try:
            asyncio.run(read_all(path))
        except StoreError as error:
            refused += 1
            assert str(path) in str(error)
            assert problems, f"the check saw nothing of: {error}"
        found += bool(problems)
        for beside in state_root.glob("store.db*"):
            beside.unlink()
    assert refused > 5 and found >= refused


async def read_all(path: Path) -> None:
    store = await open_store(f"sqlite:{path}")
    try:
        await store.list("")
        await store.check()
    finally:
        await store.close()


def test_a_cut_file_is_a_sentence(state_root: Path) -> None:
    whole, path = state_root / "whole", state_root / "store.db"
    filled(whole)
    size = whole.stat().st_size
    for length in (1, 99, 511, 4096, size // 2, size - 4096):
        path.write_bytes(whole.read_bytes()[:length])
        assert "store:" in refusal(path)
        assert check.problems(str(path))
        path.unlink()


def test_a_newer_format_and_a_foreign_file_are_named(state_root: Path) -> None:
    newer, foreign = state_root / "newer.db", state_root / "foreign.db"
    filled(newer)
    for path, statement in ((newer, "PRAGMA user_version = 99"), (foreign, "CREATE TABLE other(a)")):
        db = sqlite3.connect(path)
        db.execute(statement)
        db.close()
    assert "format 99" in refusal(newer) and "use the version that wrote it" in refusal(newer)
    assert "some other program" in refusal(foreign)
    assert foreign.exists()
    with closing(sqlite3.connect(foreign)) as db:
        assert db.execute("SELECT * FROM other").fetchall() == []


def test_the_format_before_leases_is_read_and_kept_up(state_root: Path) -> None:
    path = state_root / "store.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(
        "CREATE TABLE log(revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL,"
        " previous INTEGER NOT NULL, deleted INTEGER NOT NULL, value BLOB);"
        "CREATE INDEX log_key ON log(key, revision);"
        "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
        "INSERT INTO meta VALUES('compacted', 0);"
        "INSERT INTO log VALUES(1, '/a', 1, 0, 0, x'31'), (2, '/b', 2, 0, 0, x'32');"
        "PRAGMA user_version = 1;"
    )
    db.close()

    async def scenario() -> None:
        store = await open_store(f"sqlite:{path}")
        await store.create("/c", b"3", lease=await store.grant(60))
        assert [(e.key, e.value, e.revision) for e in (await store.list("")).entries] == [
            ("/a", b"1", 1), ("/b", b"2", 2), ("/c", b"3", 3),
        ]  # fmt: skip
        assert await store.check() == []
        await store.close()

    asyncio.run(scenario())


def test_a_log_with_a_hole_is_found(state_root: Path) -> None:
    path = state_root / "store.db"
    filled(path)
    db = sqlite3.connect(path)
    db.execute("DELETE FROM log WHERE revision = 20")
    db.execute("UPDATE log SET created = 7 WHERE revision = 30")
    db.commit()
    db.close()
    problems = check.problems(str(path))
    assert any("1 of the revisions 1 to 50 are missing" in p for p in problems)
    assert any("revision 30" in p for p in problems)
    with pytest.raises(StoreError, match="damaged"):
        asyncio.run(moves.restore(str(path), f"sqlite:{state_root}/new.db"))
    assert not (state_root / "new.db").exists() and not list(state_root.glob("*.rest*"))


def test_what_the_memory_says_is_compared_with_the_file(state_root: Path) -> None:
    async def scenario() -> None:
        store = await open_store(f"sqlite:{state_root}/store.db")
        await store.create("/a", b"right")
        other = sqlite3.connect(state_root / "store.db")
        other.execute("UPDATE log SET value = x'00'")
        other.commit()
        other.close()
        [problem] = await store.check()
        assert "key /a" in problem
        await store.close()

    asyncio.run(scenario())


@pytest.mark.needs("root")
def test_a_directory_without_rights_is_a_sentence(state_root: Path) -> None:
    path = state_root / "closed" / "store.db"
    filled(path)
    state_root.chmod(0o755)
    os.seteuid(65534)
    try:
        assert "ermission denied" in refusal(path)
        assert "ermission denied" in refusal(state_root / "new" / "store.db")
    finally:
        os.seteuid(0)


# media that fail


@pytest.mark.needs("root", "mkfs.ext4")
def test_a_file_system_that_turns_read_only(state_root: Path) -> None:
    """ext4 meets an error and becomes read-only, as a dying disk makes it; reads go on, writes are refused."""
    image, trigger = state_root / "image", Path("/sys/fs/ext4")
    with open(image, "wb") as file:
        file.truncate(32 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)

    async def before(directory: Path) -> int:
        store = await open_store(f"sqlite:{directory}/store.db")
        try:
            revision = await store.create("/a", b"1")
            device = Path(os.path.realpath(f"/sys/dev/block/{_device(directory)}")).name
            (trigger / device / "trigger_fs_error").write_text("1")
            with pytest.raises(StoreUnavailable) as caught:
                for _ in range(1000):  # what is in the file already may be overwritten still
                    revision = await store.update("/a", b"x" * 100_000, revision)
            assert caught.value.retry
            entry = await store.get("/a")
            assert entry is not None and entry.revision == revision
            [alarm] = (await store.status()).alarms
            assert "refused" in alarm
            with pytest.raises(StoreUnavailable):
                await store.backup(f"{directory}/backup")
            return revision
        finally:
            await store.close()

    async def after(directory: Path) -> int:
        store = await open_store(f"sqlite:{directory}/store.db")
        try:
            assert await store.check() == []
            await store.create("/b", b"2")
            return store.revision - 1
        finally:
            await store.close()

    options = ["-o", "loop,errors=remount-ro"]
    with mounted(state_root / "disk", *options, str(image)) as directory:
        revision = asyncio.run(before(directory))
        assert "store:" in refusal(directory / "store.db")
    # A copy, because a mount namespace that somebody made meanwhile keeps the old one mounted, and so read-only.
    mended = shutil.copy(image, state_root / "mended")
    subprocess.run(["fsck.ext4", "-y", "-f", str(mended)], check=False, capture_output=True)  # 1: errors were mended
    with mounted(state_root / "again", *options, str(mended)) as directory:
        assert asyncio.run(after(directory)) >= revision


def _device(directory: Path) -> str:
    number = os.stat(directory).st_dev
    return f"{os.major(number)}:{os.minor(number)}"


@pytest.mark.needs("root")
def test_a_full_disk_and_what_ends_by_itself(state_root: Path) -> None:
    """Backups leave nothing, an ended lease's keys stay until there is room, and all of it goes on without hands."""

    async def scenario(directory: Path) -> None:
        clock, ballast = VirtualClock(), directory / "ballast"
        store = await open_store(f"sqlite:{directory}/store.db", clock=clock)
        lease = await store.grant(10)
        for number in range(20):
            await store.create(f"/leased/{number}", b"x" * 3000, lease=lease)
        room = os.statvfs(directory)
        ballast.write_bytes(b"x" * (room.f_bavail * room.f_bsize))
        before = sorted(os.listdir(directory))
        with pytest.raises(StoreUnavailable, match=r"full|space"):
            await store.backup(f"{directory}/backup")
        assert sorted(os.listdir(directory)) == before
        await until_refused(store)
        await clock.advance(11)
        while not (await store.status()).alarms:
            await asyncio.sleep(0.01)
        assert await store.count("/leased/") > 0
        ballast.unlink()
        watch = store.watch("/leased/", store.revision)
        await clock.advance(6)
        while await store.count("/leased/"):
            async with asyncio.timeout(60):
                await watch.next()
        assert await store.check() == []
        assert await store.backup(f"{directory}/backup") == store.revision
        await store.close()

    with mounted(state_root / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as directory:
        asyncio.run(scenario(directory))


async def until_refused(store: Store) -> None:
    """Use up what room SQLite has in its own files."""
    with pytest.raises(StoreUnavailable):
        for number in range(2000):
            await store.create(f"/more/{number}", b"y" * 10_000)
    with pytest.raises(StoreUnavailable):
        for number in range(2000):
            await store.create(f"/small/{number}", b"")


# kills of backups and restores


def test_a_killed_backup_leaves_nothing(state_root: Path) -> None:
    """kill -9 at random moments of one backup after another: each file there is whole, and nothing else is."""
    path, backups = state_root / "store.db", state_root / "backups"
    backups.mkdir()
    filled(path, 400, 10_000)
    complete = 0
    for moment in killed_movers("backup", path, backups):
        asyncio.run(read_all(path))  # opens it, which sweeps
        names = os.listdir(backups)
        assert all(name.startswith("b-") for name in names), (moment, names)
        assert not list(state_root.glob("store.db.backup-*"))
        for name in names:
            assert check.problems(str(backups / name)) == []
        complete += len(names)
        shutil.rmtree(backups)
        backups.mkdir()
    assert complete >= KILLS // 4


def test_a_killed_restore_happened_or_not(state_root: Path) -> None:
    path, backup = state_root / "store.db", state_root / "backup"
    filled(path, 100, 10_000)
    asyncio.run(backed_up(path, backup))
    asyncio.run(extended(path))
    seen = set()
    for moment in killed_movers("restore", path, backup):
        revision, keys = asyncio.run(contents(path))
        assert keys in (100, 150), moment
        assert (keys == 100) == (revision > moves.BUMP)
        seen.add(keys)
        if keys == 100:  # the old one is kept, whole
            [kept, *_] = sorted(state_root.glob("store.db.replaced-*[Z]"))
            assert asyncio.run(contents(kept))[1] == 150
            for beside in state_root.glob("store.db*"):
                if beside != kept:
                    beside.unlink()
            shutil.copy(kept, path)
            for beside in state_root.glob("store.db.replaced*"):
                beside.unlink()
    assert 100 in seen  # how many were killed early enough is the scheduler's business


def killed_movers(what: str, path: Path, other: Path) -> Iterator[float]:
    """Start the work, kill it at a random moment, at the latest when it is done; the seconds that it had.

    The first is killed at once and each fourth when it is done, however slow this machine is.
    """
    chance = random.Random(11)
    for turn in range(KILLS):
        words = [sys.executable, str(MOVER), what, str(path), str(other)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as mover:
            assert mover.stdout is not None
            assert mover.stdout.readline() == "begin\n"
            seconds = chance.random() * 0.08 if turn else 0.0
            if turn % 4 == 3:
                assert mover.stdout.readline() == "done\n"
            else:
                time.sleep(seconds)  # the moment of the kill is what is tried
            mover.send_signal(signal.SIGKILL)
        yield seconds


async def backed_up(path: Path, backup: Path) -> None:
    store = await open_store(f"sqlite:{path}")
    await store.backup(str(backup))
    await store.close()


async def extended(path: Path) -> None:
    store = await open_store(f"sqlite:{path}")
    for number in range(50):
        await store.create(f"/later/{number}", b"")
    await store.close()


async def contents(path: Path) -> tuple[int, int]:
    store = await open_store(f"sqlite:{path}")
    try:
        assert await store.check() == []
        return store.revision, await store.count("")
    finally:
        await store.close()


# moving


def test_a_store_moves_between_drivers(state_root: Path) -> None:
    first, second = f"sqlite:{state_root}/a/store.db", f"sqlite:{state_root}/b/store.db"

    async def scenario() -> None:
        store = await open_store(first)
        created = await store.create("/a", b"1", lease=await store.grant(600))
        await store.update("/a", b"2", created, lease=await store.grant(600))
        await store.create("/b", b"3")
        with pytest.raises(StoreUnavailable, match="in use"):
            await moves.migrate(first, second)
        await store.close()
        moved = await moves.migrate(first, second)
        assert (moved.keys, moved.revision, moved.behind) == (2, 3, 0)
        with pytest.raises(StoreError, match="exists already"):
            await moves.migrate(first, second)
        store = await open_store(second)
        assert [(e.key, e.created, e.revision) for e in (await store.list("")).entries] == [("/a", 1, 2), ("/b", 3, 3)]
        assert await store.get("/a", 1) is not None, "history moves too"
        assert len(list((state_root / "b").iterdir())) <= 4
        await store.close()

    asyncio.run(scenario())
    with pytest.raises(UsageError, match="there is no store"):
        storecare.migrate(f"sqlite:{state_root}/none.db", second)
    assert storecare.check_stopped(second) == []


def test_a_store_pours_into_an_empty_one_of_another_driver(state_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory driver stands for one whose revisions cannot be set; the test keeps hold of it."""
    made: list[Store] = []

    async def opened(url: str) -> Store:
        if url != "memory:":
            return await open_store(url)
        made.append(await open_store(url))
        monkeypatch.setattr(made[0], "close", lambda: asyncio.sleep(0))
        return made[0]

    async def scenario() -> None:
        store = await open_store(f"sqlite:{state_root}/store.db")
        revision = await store.create("/a", b"0", lease=await store.grant(600))
        for number in range(300):
            revision = await store.update("/a", b"%d" % number, revision)
        await store.create("/b", b"kept", lease=await store.grant(600))
        await store.close()
        moved = await moves.migrate(f"sqlite:{state_root}/store.db", "memory:")
        assert moved.keys == 2 and moved.revision >= 302 and moved.behind == 0
        target = made[0]
        assert [(e.key, e.value) for e in (await target.list("")).entries] == [("/a", b"299"), ("/b", b"kept")]
        assert not await moves.unfinished(target)
        with pytest.raises(StoreError, match="2 keys already"):
            await moves._pour(f"{state_root}/store.db", "memory:")
        await target.create(moves.UNFINISHED, b"")
        assert await moves.unfinished(target)
        moved = await moves._pour(f"{state_root}/store.db", "memory:")  # what a killed one left is cleared away
        assert moved.keys == 2 and not await moves.unfinished(target)

    monkeypatch.setattr(moves, "open_store", opened)
    asyncio.run(scenario())
