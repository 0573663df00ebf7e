"""`contract.Store` over etcd: writes are transactions, reads are answered from the view after a `sync`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil

from groundplane.base.clock import Clock
from groundplane.base.ids import hex_id
from groundplane.store.contract import (
    Conflict,
    Entry,
    FutureRevision,
    KeyExists,
    NoSuchLease,
    Page,
    Status,
    StoreUnavailable,
    Watch,
)
from groundplane.store.drivers.etcd import messages
from groundplane.store.drivers.etcd.feed import Feed
from groundplane.store.drivers.etcd.gateway import Gateway, Lost, Refused
from groundplane.store.drivers.etcd.history import History, PastWatch
from groundplane.store.drivers.etcd.messages import Keys
from groundplane.store.drivers.etcd.upkeep import Upkeep, compact
from groundplane.store.drivers.etcd.url import Target
from groundplane.store.drivers.etcd.writes import GRANT, RENEW, REVOKE, Other, Writer
from groundplane.store.retention import Retention

_ATTEMPTS = 3
_RECENT_BYTES = 16 * 2**20  # the recent changes keep replaced values alive: a bound where those are large
_STATUS, _ALARM = "/v3/maintenance/status", "/v3/maintenance/alarm"
_LEASES, _LEASE = "/v3/lease/leases", "/v3/lease/timetolive"
_ALARMS = {
    "NOSPACE": "etcd's database has reached its quota and takes no writes: compact, defragment, disarm the alarm",
    "CORRUPT": "etcd has found that its members disagree: replace the wrong one",
}


class EtcdStore:
    """A part of one etcd, shared with whoever else uses it. Made by `open`."""

    def __init__(self, target: Target, keep: Retention, clock: Clock) -> None:
        keys = self._keys = Keys(target.prefix)
        self._gateway = Gateway(target)
        self._feed = Feed(self._gateway, keys, in_memory=keep.in_memory, in_memory_bytes=_RECENT_BYTES)
        self._writer = Writer(self._gateway, keys, self._feed, hex_id()[:16])
        self._history = History(self._gateway, keys, self._feed)
        self._upkeep = Upkeep(self._gateway, self._feed, self._writer, keep, clock)
        self._closed = False
        self._busy = 0
        self._idle = asyncio.Event()

    @classmethod
    async def open(cls, target: Target, *, keep: Retention, clock: Clock) -> EtcdStore:
        """Reach etcd and load the newest state. Raises StoreError, StoreUnavailable."""
        store = cls(target, keep, clock)
        try:
            await store._feed.start()
            store._feed.view.oldest = await store._history.oldest()
            await store._writer.start()
        except BaseException:
            await store._feed.stop()
            await store._gateway.close()
            raise
        store._upkeep.start()
        return store

    @property
    def revision(self) -> int:
        return self._feed.view.revision

    @property
    def shared(self) -> bool:
        return True

    async def sync(self) -> int:
        self._open()
        return await self._feed.sync()

    async def create(self, key: str, value: bytes, *, lease: int = 0) -> int:
        with self._under_way():
            try:
                return await self._writer.put(key, value, 0, lease)
            except Other:
                raise KeyExists(key) from None

    async def update(self, key: str, value: bytes, expected: int, *, lease: int = 0) -> int:
        with self._under_way():
            try:
                return await self._writer.put(key, value, await self._possible(key, expected), lease)
            except Other as other:
                raise Conflict(key, expected, other.current) from None

    async def delete(self, key: str, expected: int) -> int:
        with self._under_way():
            try:
                return await self._writer.delete(key, await self._possible(key, expected))
            except Other as other:
                raise Conflict(key, expected, other.current) from None

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        if not revision:
            await self.sync()
            return self._feed.view.entries.get(key)
        await self._check(revision)
        if self._feed.view.reaches(revision):
            return self._feed.view.get(key, revision)
        return await self._history.get(key, revision)

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        if not revision:
            await self.sync()
            return self._feed.view.newest_page(prefix, start, limit)
        await self._check(revision)
        if self._feed.view.reaches(revision):
            return self._feed.view.page_at(prefix, start, limit, revision)
        return await self._history.page(prefix, start, limit, revision)

    async def count(self, prefix: str) -> int:
        await self.sync()
        return self._feed.view.count(prefix)

    def watch(self, prefix: str, after: int) -> Watch:
        self._open()
        view = self._feed.view
        view.check(after)
        if view.reaches(after):
            return view.watch(prefix, after)
        return PastWatch(self._history, prefix, after, view.revision, view.watchers.add(prefix, view.revision, ()))

    async def compact(self, revision: int) -> None:
        if revision > self.revision and revision > (newest := await self.sync()):
            raise FutureRevision(revision, newest)
        self._open()
        view = self._feed.view
        if revision <= view.oldest:
            return
        try:
            await compact(self._gateway, revision)
        except Refused as refused:
            raise refused.error() from refused
        view.oldest = revision
        view.recent.forget(revision)

    async def grant(self, seconds: float) -> int:
        self._open()
        # Asked twice where an answer is lost: a lease that nobody knows ends by itself.
        return int((await self._feed.ask(GRANT, {"TTL": str(max(1, ceil(seconds)))}))["ID"])

    async def keep_alive(self, lease: int) -> None:
        self._open()
        answer = await self._feed.ask(RENEW, {"ID": str(lease)})
        if not int(answer["result"].get("TTL", 0)):
            raise NoSuchLease(lease)

    async def revoke(self, lease: int) -> None:
        self._open()
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self._gateway.call(REVOKE, {"ID": str(lease)}, repeat=False)
            except Lost:
                continue
            except Refused as refused:
                if "lease not found" not in str(refused):
                    raise refused.error() from refused
                if not attempt:
                    raise NoSuchLease(lease) from None
                await self._feed.sync()  # by the attempt before, whose answer was lost
                return
            await self._feed.catch_up(messages.revision_of(answer))
            return
        raise StoreUnavailable(f"store: etcd did not answer whether lease {lease} ended")

    async def status(self) -> Status:
        revision = await self.sync()
        told = await self._feed.ask(_STATUS, {})
        alarms = (await self._feed.ask(_ALARM, {"action": "GET"})).get("alarms", ())
        names = sorted({str(a.get("alarm", "NONE")) for a in alarms})
        sentences = tuple(_ALARMS.get(n, f"etcd's alarm {n}") for n in names)
        keys, size = len(self._feed.view.entries), int(told.get("dbSize", 0))
        return Status(f"etcd {told.get('version', '')}", revision, await self._history.oldest(), keys, size, sentences)

    async def check(self) -> Sequence[str]:
        """Compare memory with etcd, revision for revision, and look whether etcd complains of itself."""
        revision = await self.sync()
        here = self._feed.view.page_at("", "", 0, revision).entries
        there = (await self._history.page("", "", 0, revision)).entries
        wrong = {e.key for e in set(here) ^ set(there)}
        problems = [f"key {key} is not in memory as it is in etcd" for key in sorted(wrong)]
        return [*self._feed.view.problems(), *problems, *(await self.status()).alarms]

    async def backup(self, path: str) -> int:
        from groundplane.store import backups  # late: only this needs SQLite

        moment = await self.list("")
        names = {e.key for e in moment.entries}
        leases = []
        for found in (await self._feed.ask(_LEASES, {})).get("leases", ()):
            told = await self._feed.ask(_LEASE, {"ID": found["ID"], "keys": True})
            keys = [k for k in self._keys.names(told.get("keys", ())) if k in names]
            if keys:
                leases.append(backups.Held(float(told["grantedTTL"]), float(told.get("TTL", 0)), keys))
        return await backups.write(path, moment.entries, moment.revision, leases)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._busy:
            await self._idle.wait()  # bounded by the gateway's patience
        await self._upkeep.stop()
        await self._history.stop()
        await self._writer.drop_fence()
        await self._feed.stop()
        await self._gateway.close()

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable("store: closed")

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """A write: `close` waits for its answer."""
        self._open()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if self._closed and not self._busy:
                self._idle.set()

    async def _possible(self, key: str, expected: int) -> int:
        """`expected`, or Other where no key can be at that revision: 0 would be "does not live" to etcd."""
        if expected > 0:
            return expected
        await self._feed.sync()
        raise Other(self._feed.view.entries.get(key))

    async def _check(self, revision: int) -> None:
        """Raises Compacted, FutureRevision."""
        self._open()
        if revision > self.revision:
            await self.sync()
        self._feed.view.check(revision)
