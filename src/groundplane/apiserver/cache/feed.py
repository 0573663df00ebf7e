"""From the store's log to collections: one watch on everything, drained before each read and after each write."""

from __future__ import annotations

import asyncio

from groundplane.apiserver.cache.collection import Collection
from groundplane.apiserver.cache.stored import Shape, Window
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.store.contract import Compacted, Entry, Event, Page, Store, StoreError, StoreUnavailable, Watch

ROOT = "/registry/"
_RETRY = 0.5  # seconds
_log = Log("apiserver.cache")


class Cache:
    """Every registered collection at one revision. `start` loads, `drain` catches up, `stop` ends the feed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.window = Window()
        self._collections: dict[str, Collection] = {}
        self._feed: Watch | None = None
        self._loading = False
        self._tasks = Tasks("apiserver.cache")
        self.revision = 0
        self.horizon = 0  # no list is answered as of an older revision than this

    def register(self, prefix: str, kind: str, api_version: str) -> None:
        """Keep the objects below `prefix`; before `start`."""
        self._collections[prefix] = Collection(prefix, Shape(kind, api_version, self.window), 0)

    def collection(self, prefix: str) -> Collection:
        return self._collections[prefix]

    async def start(self) -> None:
        page = await self.store.list(ROOT)
        groups = self._grouped(page)
        for prefix, old in self._collections.items():
            collection = Collection(prefix, old.shape, page.revision)
            collection.load(groups.get(prefix, []))
            self._collections[prefix] = collection
        self.revision = page.revision
        self._feed = self.store.watch(ROOT, page.revision)
        self._tasks.start("feed", self._follow())

    async def sync(self) -> None:
        """Take in every change that was answered anywhere, by other servers too. Raises StoreUnavailable."""
        newest = await self.store.sync()
        self.drain()
        if self._loading:
            raise StoreUnavailable("store: history was compacted before it was seen; everything is being read again")
        self.revision = max(self.revision, newest)  # the last changes may concern nothing that is kept here

    async def catch_up(self, asked: str) -> None:
        """Take in what a read must show whose resourceVersion is `asked`: "" everything, "0" no matter what, N that.

        Where this process is the only writer all of it is here already. Raises StoreUnavailable.
        """
        self.drain()
        if asked != "0" and not (asked.isdecimal() and int(asked) <= self.revision):
            await self.sync()

    def drain(self) -> None:
        """Take in every change the store has queued: what was answered as written here is visible afterwards."""
        if self._feed is not None and not self._loading:
            try:
                events = self._feed.pending()
            except Compacted:
                self._loading = True  # until the follower, who is told the same, has read everything again
                return
            if events:
                self._apply(events)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            prefix = self._prefix(event.key)
            if prefix is not None:
                collection = self._collections[prefix]
                if event.revision > collection.loaded:
                    collection.apply(event)
        self.revision = max(self.revision, events[-1].revision)

    def _prefix(self, key: str) -> str | None:
        """`/registry/pods/` or `/registry/services/specs/`, whichever is registered and leads `key`."""
        second = key.find("/", len(ROOT)) + 1
        if second and key[:second] in self._collections:
            return key[:second]
        third = key.find("/", second) + 1
        return key[:third] if second and third and key[:third] in self._collections else None

    async def _follow(self) -> None:
        """Changes nobody here waited for (other servers on one etcd, expired events) reach watchers from this task."""
        assert self._feed is not None
        while True:
            try:
                self._apply(await self._feed.next())
            except StoreUnavailable:
                return
            except Compacted as error:
                _log.warning("the store dropped the feed; reading everything again", error=str(error))
                self._loading = True
                await self._reload()

    async def _reload(self) -> None:
        """Begin anew with a list, because changes were missed: an etcd that another server compacted meanwhile."""
        while self._loading:
            try:
                page = await self.store.list(ROOT)
                feed = self.store.watch(ROOT, page.revision)
            except StoreError as error:
                _log.warning("everything could not be read again; trying again", error=str(error))
                await asyncio.sleep(_RETRY)
                continue
            groups = self._grouped(page)
            for prefix, collection in self._collections.items():
                collection.replace(groups.get(prefix, []), page.revision)
            self._feed, self.revision, self._loading = feed, page.revision, False

    def _grouped(self, page: Page) -> dict[str, list[Entry]]:
        groups: dict[str, list[Entry]] = {}
        for entry in page.entries:
            if (prefix := self._prefix(entry.key)) is not None:
                groups.setdefault(prefix, []).append(entry)
        return groups

    async def stop(self) -> None:
        await self._tasks.stop()
        if self._feed is not None:
            self._feed.close()
            self._feed = None
