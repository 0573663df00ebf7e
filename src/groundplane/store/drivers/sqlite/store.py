"""`contract.Store` over the log: queue a write, answer it once it is durable; read the newest state from memory.

Each key has at most one write on its way. Who wants to write a key that is on its way waits for that write's fate and
looks again, because a refusal (KeyExists, Conflict) must rest on something that has happened, not on something that a
full disk may still undo.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks, in_thread
from groundplane.store import backups
from groundplane.store.contract import (
    Conflict,
    Entry,
    Event,
    EventType,
    FutureRevision,
    KeyExists,
    Page,
    Status,
    StoreUnavailable,
    Watch,
)
from groundplane.store.drivers.sqlite import check, log, replacing
from groundplane.store.drivers.sqlite.writer import Writer
from groundplane.store.leases import Lease, Leases
from groundplane.store.retention import Ages, Retention
from groundplane.store.view import Recent, View

_SAVE_LEASES = 300.0  # etcd's interval (server/lease/lessor.go, defaultLeaseCheckpointInterval)
_RECENT_BYTES = 16 * 2**20  # the recent changes keep replaced values alive: a bound where those are large

T = TypeVar("T")
_log = Log("store.sqlite")


class _Write:
    """A write on its way: the change as it will be, and who waits for it."""

    __slots__ = ("answer", "event", "lease", "others")

    def __init__(self, event: Event, lease: int, answer: asyncio.Future[int]) -> None:
        self.event = event
        self.lease = lease
        self.answer = answer
        self.others: list[asyncio.Future[None]] = []

    def settle(self, error: StoreUnavailable | None) -> None:
        if not self.answer.done():  # done already where the caller was cancelled
            if error is None:
                self.answer.set_result(self.event.revision)
            else:
                self.answer.set_exception(StoreUnavailable(str(error)))  # each caller its own traceback
        for other in self.others:
            if not other.done():
                other.set_result(None)


class SqliteStore:
    """One file, one owner. Made by `open`."""

    def __init__(self, path: str, lock: int, clock: Clock) -> None:
        self._path = path
        self._lock = lock
        self._view = View((), 0, 0, Recent(0))
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._writer: Writer[_Write] = Writer(path, self._committed, self._failed)
        self._on_their_way: dict[str, _Write] = {}
        self._gathered: list[_Write] = []
        self._last = 0  # the last revision given to a write on its way
        self._epoch = 0
        self._reader: ThreadPoolExecutor | None = None
        self._history: sqlite3.Connection | None = None
        self._tasks = Tasks("store")
        self._leases = Leases(clock, self._end)
        self._refused = ""  # why the last write was

    @classmethod
    async def open(cls, path: str, *, keep: Retention, clock: Clock) -> SqliteStore:
        """Take the file, make it where it is missing, load the newest state. Raises StoreUnavailable."""
        path = os.path.abspath(path)
        store = cls(path, log.lock(path), clock)
        try:
            with log.medium("cannot open", path):
                backups.sweep(path)
                replacing.settle(path)
            load = partial(_load, in_memory=keep.in_memory)
            store._view, leases, leased = await store._writer.call(load, "cannot open")
        except BaseException:
            await store.close()
            raise
        store._last = store._view.revision
        for lease in leases:
            store._leases.add(*lease)
        for key, number in leased.items():
            store._leases.join(key, number)
        store._tasks.start("retention", store._retain(keep, clock))
        store._tasks.start("leases", store._save_leases(clock))
        return store

    @property
    def revision(self) -> int:
        return self._view.revision

    @property
    def shared(self) -> bool:
        return False

    async def sync(self) -> int:
        self._open()
        return self._view.revision

    async def create(self, key: str, value: bytes, *, lease: int = 0) -> int:
        await self._alone(key)
        if key in self._view.entries:
            raise KeyExists(key)
        return await self._write(EventType.CREATE, key, value, None, lease)

    async def update(self, key: str, value: bytes, expected: int, *, lease: int = 0) -> int:
        await self._alone(key)
        return await self._write(EventType.UPDATE, key, value, self._expect(key, expected), lease)

    async def delete(self, key: str, expected: int) -> int:
        await self._alone(key)
        previous = self._expect(key, expected)
        return await self._write(EventType.DELETE, key, previous.value, previous)

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        self._open()
        if not revision:
            return self._view.entries.get(key)
        self._view.check(revision)
        if self._view.reaches(revision):
            return self._view.get(key, revision)
        return await self._read(lambda db: log.get(db, key, revision))

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._open()
        if not revision:
            return self._view.newest_page(prefix, start, limit)
        self._view.check(revision)
        if self._view.reaches(revision):
            return self._view.page_at(prefix, start, limit, revision)
        return await self._read(lambda db: log.page(db, prefix, start, limit, revision))

    async def count(self, prefix: str) -> int:
        self._open()
        return self._view.count(prefix)

    def watch(self, prefix: str, after: int) -> Watch:
        self._open()
        self._view.check(after)
        if self._view.reaches(after):
            return self._view.watch(prefix, after)
        # Rare (who resumes from that far back has usually been told to list again), so a connection of its own and no
        # hand-over between threads: what is read here ends exactly where the view's publishing begins.
        with log.medium("cannot read", self._path):
            db = log.connect(self._path)
            try:
                backlog = log.events(db, prefix, after, self._view.revision)
            finally:
                db.close()
        return self._view.watchers.add(prefix, after, backlog)

    async def compact(self, revision: int) -> None:
        self._open()
        if revision > self._view.revision:
            raise FutureRevision(revision, self._view.revision)
        if revision <= self._view.oldest:
            return
        self._view.oldest = revision
        self._view.recent.forget(revision)
        position: int | None = 0
        while position is not None:
            # One stretch a job, so that writes go on in between.
            position = await self._writer.call(partial(log.forget, revision=revision, after=position))

    async def grant(self, seconds: float) -> int:
        self._open()
        seconds = max(1.0, seconds)
        number: int = await self._writer.call(partial(log.grant, seconds=seconds))
        return self._leases.add(number, seconds, seconds).number

    async def keep_alive(self, lease: int) -> None:
        self._open()
        living = self._leases.living(lease)
        if living.saved < living.seconds:
            # A renewal itself is not written down: after a restart a lease has what was saved, which is all of it
            # as long as nobody saved less.
            await self._writer.call(partial(log.save_left, left=[(living.seconds, lease)]))
            living = self._leases.living(lease)
            living.saved = living.seconds
        self._leases.renew(living)

    async def revoke(self, lease: int) -> None:
        self._open()
        await self._leases.revoke(lease)

    async def status(self) -> Status:
        self._open()
        size = sum(os.stat(p).st_size for p in (self._path, self._path + "-wal") if os.path.exists(p))
        alarms = (f"writes are refused: {self._refused}",) if self._refused else ()
        return Status("sqlite", self._view.revision, self._view.oldest, len(self._view.entries), size, alarms)

    async def check(self) -> Sequence[str]:
        self._open()
        question = partial(check.problems, self._path, dict(self._view.entries), self._view.revision)
        return self._view.problems() + await in_thread(question)

    async def backup(self, path: str) -> int:
        self._open()
        return await in_thread(partial(backups.copy, self._path, path))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        await self._tasks.stop()
        await self._leases.stop()
        with contextlib.suppress(StoreUnavailable):  # a lease lives longer then, which nobody minds
            await self._save_left()
        await self._writer.stop()
        self._view.watchers.close()
        if self._reader is not None:
            await self._loop.run_in_executor(self._reader, self._close_history)
            self._reader.shutdown()
        os.close(self._lock)

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable("store: closed")

    async def _alone(self, key: str) -> None:
        """Return once no write of `key` is on its way."""
        self._open()
        while (write := self._on_their_way.get(key)) is not None:
            settled: asyncio.Future[None] = self._loop.create_future()
            write.others.append(settled)
            await settled
            self._open()

    def _expect(self, key: str, expected: int) -> Entry:
        current = self._view.entries.get(key)
        if current is None or current.revision != expected:
            raise Conflict(key, expected, current)
        return current

    def _write(
        self, kind: EventType, key: str, value: bytes, previous: Entry | None, lease: int = 0
    ) -> asyncio.Future[int]:
        if lease:
            self._leases.living(lease)
        self._last += 1
        write = _Write(Event(kind, key, value, self._last, previous), lease, self._loop.create_future())
        self._on_their_way[key] = write
        if not self._gathered:
            # At the end of this turn of the loop, so that all who write in it wake the thread once.
            self._loop.call_soon(self._hand_over)
        self._gathered.append(write)
        return write.answer

    def _hand_over(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._writer.put(self._epoch, gathered)

    def _committed(self, writes: Sequence[_Write]) -> None:
        for write in writes:
            self._leases.follow(write.event, write.lease)
            del self._on_their_way[write.event.key]
        self._view.apply([w.event for w in writes])
        self._refused = ""
        for write in writes:
            write.settle(None)

    def _failed(self, epoch: int, error: StoreUnavailable) -> None:
        """The medium refused a batch: nothing that is on its way will happen."""
        _log.error("writes were refused", error=str(error), writes=len(self._on_their_way))
        self._epoch = epoch + 1
        lost, self._on_their_way = self._on_their_way, {}
        self._gathered = []
        self._last = self._view.revision
        self._refused = str(error)
        for write in lost.values():
            write.settle(error)

    async def _end(self, lease: Lease) -> None:
        """Delete an ended lease's keys, then the lease: who is killed in between ends it again."""
        while keys := sorted(lease.keys.union(self._written_with(lease))):
            await asyncio.gather(*(self._drop(key, lease) for key in keys))
        await self._writer.call(partial(log.drop_lease, number=lease.number))
        self._leases.forget(lease)

    def _written_with(self, lease: Lease) -> Iterable[str]:
        return (w.event.key for w in self._on_their_way.values() if w.lease == lease.number)

    async def _drop(self, key: str, lease: Lease) -> None:
        await self._alone(key)
        if key in lease.keys:
            previous = self._view.entries[key]
            await self._write(EventType.DELETE, key, previous.value, previous)

    async def _save_leases(self, clock: Clock) -> None:
        while True:
            await clock.sleep(_SAVE_LEASES)
            try:
                await self._save_left()
            except StoreUnavailable as error:
                _log.warning("what is left of the leases was not saved; trying again later", error=str(error))

    async def _save_left(self) -> None:
        """Write down what is left of each lease, so that a restart does not begin all of them again."""
        if leases := self._leases.all():
            for lease in leases:
                lease.saved = self._leases.left(lease)
            await self._writer.call(partial(log.save_left, left=[(lease.saved, lease.number) for lease in leases]))

    async def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the history on its own thread."""
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")

        def ask() -> T:
            with log.medium("cannot read", self._path):
                if self._history is None:
                    self._history = log.connect(self._path)
                return question(self._history)

        return await self._loop.run_in_executor(self._reader, ask)

    def _close_history(self) -> None:
        if self._history is not None:
            self._history.close()
            self._history = None

    async def _retain(self, keep: Retention, clock: Clock) -> None:
        ages = Ages()
        while True:
            await clock.sleep(keep.interval)
            if limit := ages.due(keep, clock.monotonic(), self._view.revision, self._view.written):
                try:
                    await self.compact(limit)
                except StoreUnavailable as error:
                    _log.warning("history was not compacted; trying again later", error=str(error))


def _load(db: sqlite3.Connection, in_memory: int) -> tuple[View, Sequence[tuple[int, float, float]], Mapping[str, int]]:
    """The newest state and the recent events of the file, the leases, and the keys that have one."""
    oldest, revision = log.compacted(db), log.newest(db)
    recent = Recent(max(oldest, revision - in_memory), limit=in_memory, limit_bytes=_RECENT_BYTES)
    tail = log.events(db, "", recent.floor, revision)
    if [e.revision for e in tail] != list(range(recent.floor + 1, revision + 1)):
        raise sqlite3.DatabaseError(f"the log is damaged: revisions before {revision} are missing; restore a backup")
    recent.extend(tail)
    entries, leased = log.living(db, {e.revision: e.value for e in tail})
    return View(entries, revision, oldest, recent), log.leases(db), leased
