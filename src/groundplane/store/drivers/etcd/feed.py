"""One watch over everything keeps the view: the newest state, the recent events, the watchers' queues.

    load (range, paged, one revision) ──► view ◄── watch from the revision after ──(cut off)──► watch again from there

The view takes in whole revisions in order, so where a watch ends is where the next one begins, on whatever member:
nothing is lost, nothing comes twice. Where somebody compacted past that point, what happened between is gone: all
watchers are told Compacted and the view is loaded anew. The same happens where etcd was put back to an older state.

A watch can also fall silent without ending (a paused member, a cut network). So a revision that must come is waited
for (`reach`), and where nothing at all is heard for a second the watch is opened again on another member. Every two
seconds the newest revision is asked for, so that an idle server notices too.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.store.contract import Compacted, Entry, EventType, StoreError, StoreUnavailable
from groundplane.store.drivers.etcd import messages
from groundplane.store.drivers.etcd.gateway import Gateway, Lost, Refused
from groundplane.store.drivers.etcd.messages import Keys, Message
from groundplane.store.view import Recent, View

RANGE, TXN, WATCH = "/v3/kv/range", "/v3/kv/txn", "/v3/watch"
PAGE = 500  # keys of one answer: each may be as large as etcd takes
_SILENCE = 1.0  # seconds without a word while a revision must come, until another member is asked
_GAP = 0.05  # seconds a revision may take to come before it is taken for one that concerns other keys
_LOOK = 2.0  # seconds between looks of an idle server
_PAUSE = (0.02, 1.0)  # seconds between attempts to watch, doubled up to the second
T = TypeVar("T")
_log = Log("store.etcd")


class Feed:
    """The view of one store, and who waits for it to reach a revision."""

    def __init__(self, gateway: Gateway, keys: Keys, *, in_memory: int, in_memory_bytes: int) -> None:
        self._gateway = gateway
        self._keys = keys
        self._limits = {"limit": in_memory, "limit_bytes": in_memory_bytes}
        self.view = View((), 0, 0, Recent(0))
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap: revision, order, who
        self._order = itertools.count()
        self._heard = 0.0
        self._deaf = False
        self._stream: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None
        self._tasks = Tasks("store.etcd")

    async def start(self) -> None:
        """Load the view and keep it from now on. Raises StoreError, StoreUnavailable."""
        self.view = await self._load()
        self._tasks.start("watch", self._follow())
        self._tasks.start("look", self._look())

    async def stop(self) -> None:
        await self._tasks.stop()
        asking = [task for task in (self._asking, self._next) if task is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self.view.watchers.close()
        for _, _, came in self._waiting:
            if not came.done():
                came.set_exception(StoreUnavailable("store: closed"))
        self._waiting = []

    async def sync(self) -> int:
        """etcd's newest revision, once the view is there. Raises StoreUnavailable.

        Who asks while a question is under way shares the next one: the answer to the present one may be older than
        what the asker must see.
        """
        if self._asking is None:
            self._asking = held(self._sync(None))
            return await asyncio.shield(self._asking)
        if self._next is None:
            self._next = held(self._sync(self._asking))
        return await asyncio.shield(self._next)

    async def _sync(self, before: asyncio.Task[int] | None) -> int:
        if before is not None:
            await asyncio.wait((before,))
            self._asking, self._next = self._next, None
        try:
            seen = self.view.revision
            answer = await self.ask(RANGE, {"key": self._keys.sync, "keys_only": True})
            newest = messages.revision_of(answer)
            if newest < seen:
                await self._turned_back(newest)
            else:
                await self.catch_up(newest)
            return self.view.revision
        finally:
            if self._next is None:
                self._asking = None

    async def ask(self, path: str, body: Message) -> Message:
        """A call that may be repeated. Raises StoreError."""
        try:
            return await self._gateway.call(path, body, repeat=True)
        except Refused as refused:
            raise refused.error() from refused

    async def catch_up(self, revision: int) -> None:
        """Return once everything up to `revision`, whoever wrote it and wherever, is in the view.

        A revision that changed no key of ours never comes by the watch; if it does not come soon, a key of ours is
        written, and what comes then is above it. Raises StoreUnavailable.
        """
        if self.view.revision >= revision or await self._came(revision, _GAP):
            return
        answer = await self.ask(TXN, {"success": [messages.put(self._keys.sync)]})
        await self.reach(messages.revision_of(answer))

    async def approach(self, revision: int) -> None:
        """Return once the view is at `revision`, or has had a second to get there."""
        await self._came(revision, _SILENCE)

    async def reach(self, revision: int) -> None:
        """Return once the view is at `revision`, one that changed a watched key. Raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while not await self._came(revision, _SILENCE):
            if loop.time() - begin > self._gateway.patience:
                raise StoreUnavailable(f"store: etcd is at revision {revision} and no member tells what happened there")
            if loop.time() - max(self._heard, begin) >= _SILENCE:
                self._gateway.leave_present("its watch is silent")
                if self._stream is not None:
                    self._stream.cancel()

    async def _came(self, revision: int, seconds: float) -> bool:
        if self.view.revision >= revision:
            return True
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._order), came))
        try:
            async with asyncio.timeout(seconds):
                await came
        except TimeoutError:
            came.cancel()
            return self.view.revision >= revision
        return True

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._look_once()

    async def _look_once(self) -> None:
        try:
            await self.sync()
        except StoreError as error:
            if not self._deaf:
                _log.warning("etcd is not heard", why=str(error))
            self._deaf = True
        else:
            if self._deaf:
                _log.info("etcd is heard again", revision=self.view.revision)
            self._deaf = False

    async def _follow(self) -> None:
        """Watch for ever."""
        pause = _PAUSE[0]
        while True:
            at = self.view.revision
            self._stream = self._tasks.start("stream", self._read())
            await asyncio.wait((self._stream,))
            pause = _PAUSE[0] if self.view.revision > at else min(2 * pause, _PAUSE[1])
            await asyncio.sleep(pause)

    async def _read(self) -> None:
        """One watch until it ends."""
        try:
            async with self._gateway.stream(WATCH, self._keys.watch(self.view.revision)) as incoming:
                async for message in incoming:
                    self._heard = asyncio.get_running_loop().time()
                    if oldest := int(message.get("compact_revision", 0)):
                        await self._reload(oldest)
                        return
                    if message.get("canceled"):
                        raise Refused(0, str(message.get("cancel_reason") or "the watch was cancelled"))
                    if changes := message.get("events"):
                        self._take_in(changes)
        except Lost as error:
            _log.debug("the watch was cut off", error=str(error))
        except Refused as refused:
            _log.warning("etcd refuses the watch", why=str(refused))
            self._gateway.leave_present(str(refused))
            await self._look_once()  # signs in again where that is what it wants

    def _take_in(self, changes: list[Message]) -> None:
        view, events = self.view, []
        changed: dict[str, Entry | None] = {}
        for message in changes:
            kv = message["kv"]
            if not self._keys.is_ours(kv):
                continue
            key = self._keys.name(kv)
            before = changed[key] if key in changed else view.entries.get(key)
            event = messages.change(key, message, before)
            created = event.revision if before is None else before.created
            gone = event.type is EventType.DELETE
            changed[key] = None if gone else Entry(key, event.value, created, event.revision)
            events.append(event)
        if events:
            view.apply(events)
        self._arrived(int(changes[-1]["kv"]["mod_revision"]))

    def _arrived(self, revision: int) -> None:
        self.view.advance(revision)
        while self._waiting and self._waiting[0][0] <= self.view.revision:
            came = heapq.heappop(self._waiting)[2]
            if not came.done():
                came.set_result(None)

    async def _reload(self, oldest: int) -> None:
        """What happened since the view's revision is gone: begin anew, and tell all watchers to."""
        _log.warning("history was compacted before it was seen; loading anew", at=self.view.revision, oldest=oldest)
        try:
            view = await self._load(oldest)
        except StoreError as error:
            _log.warning("loading failed; trying again", error=str(error))
            return
        old, self.view = self.view, view
        old.watchers.drop_all(oldest)
        self._arrived(view.revision)

    async def _turned_back(self, newest: int) -> None:
        """etcd is older than what it showed before: somebody has put a snapshot back. Nothing that is here is true."""
        _log.error("etcd has an older state than before; loading anew", at=self.view.revision, etcd=newest)
        await self._reload(newest)
        if self._stream is not None:
            self._stream.cancel()  # it would wait for a revision that is far ahead now

    async def _load(self, oldest: int = 0) -> View:
        """Everything as of one revision. Raises StoreError, StoreUnavailable."""
        while True:
            try:
                entries, revision = await self._read_all()
            except Compacted:
                continue  # it took so long that somebody compacted meanwhile
            return View(entries, revision, oldest, Recent(revision, **self._limits))

    async def _read_all(self) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        bounds, revision = self._keys.range(), 0
        while True:
            question: dict[str, Any] = {**bounds, "limit": str(PAGE), "revision": str(revision)}
            try:
                answer = await self._gateway.call(RANGE, question, repeat=True)
            except Refused as refused:
                if "compacted" in str(refused):
                    raise Compacted(revision, 0) from refused
                raise refused.error() from refused
            revision = revision or messages.revision_of(answer)
            entries += [self._keys.entry(kv) for kv in answer.get("kvs", ())]
            if not answer.get("more"):
                return entries, revision
            bounds = self._keys.range(start=entries[-1].key + "\0")


def held(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task whose failure is its waiters' business, also where all of them have gone."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda t: t.cancelled() or t.exception())
    return task
