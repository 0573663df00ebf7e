"""Informers: a local copy of one resource, kept by list and watch, with handlers told of every change.

    list ──► cache replaced, differences told ──► watch from the list's revision, changes told one by one ◄─┐
      ▲                                               │ ends, or connection lost: from the last revision     │
      │                                               ├──────────────────────────────────────────────────────┘
      └────────────────── 410 Gone ───────────────────┘

Nothing polls: an informer with nothing to tell costs a bookmark a minute. A watch is renewed after 5 to 10 minutes,
as client-go does, so that the server can forget dead ones. Failures are retried with a doubling, jittered back-off.
Handlers run inside the informer's task: they only put keys into queues, and must not wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object, WatchEvent
from groundplane.client.objects import Key, key_of, uid_of, version_of
from groundplane.client.resources import Resource

_log = Log("client.informer")

# client-go tools/cache reflector.go: 800 ms doubled up to 30 s, with jitter, forgotten after 2 minutes of success.
FIRST_BACKOFF = 0.8
LAST_BACKOFF = 30.0
WATCH_SECONDS = 300  # and up to twice as long

Objects = list[Object]
Indexer = Callable[[Object], Iterable[str]]


def _nothing(_: Object) -> None:
    pass


def _nothing_of_two(_: Object, __: Object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Handler:
    """What to call on changes. `update` gets (old, new), also for a relist that found the object changed."""

    add: Callable[[Object], None] = _nothing
    update: Callable[[Object, Object], None] = _nothing_of_two
    delete: Callable[[Object], None] = _nothing


class Cache:
    """The objects of one informer by (namespace, name), and by any index that was asked for. Read it, never write."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._spaces: dict[str, dict[Key, Object]] = {}
        self._indexers: dict[str, Indexer] = {}
        self._indexes: dict[str, dict[str, dict[Key, Object]]] = {}

    def get(self, name: str, namespace: str = "") -> Object | None:
        return self._objects.get((namespace, name))

    def by_key(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def list(self, namespace: str = "") -> Objects:
        """All objects, or those of one namespace."""
        if namespace:
            return list(self._spaces.get(namespace, {}).values())
        return list(self._objects.values())

    def by_index(self, index: str, value: str) -> Objects:
        """The objects for which the indexer `index` named `value`."""
        return list(self._indexes[index].get(value, {}).values())

    def add_index(self, index: str, indexer: Indexer) -> None:
        """Index by a function of the object; adding the same name again changes nothing."""
        if index in self._indexers:
            return
        self._indexers[index] = indexer
        self._indexes[index] = {}
        for key, obj in self._objects.items():
            self._enter(index, indexer, key, obj)

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def _put(self, key: Key, obj: Object) -> Object | None:
        old = self._objects.get(key)
        self._objects[key] = obj
        if key[0]:
            self._spaces.setdefault(key[0], {})[key] = obj
        for index, indexer in self._indexers.items():
            if old is not None:
                self._leave(index, indexer, key, old)
            self._enter(index, indexer, key, obj)
        return old

    def _drop(self, key: Key) -> Object | None:
        old = self._objects.pop(key, None)
        if old is None:
            return None
        if key[0]:
            space = self._spaces[key[0]]
            del space[key]
            if not space:
                del self._spaces[key[0]]
        for index, indexer in self._indexers.items():
            self._leave(index, indexer, key, old)
        return old

    def _enter(self, index: str, indexer: Indexer, key: Key, obj: Object) -> None:
        for value in indexer(obj):
            self._indexes[index].setdefault(value, {})[key] = obj

    def _leave(self, index: str, indexer: Indexer, key: Key, obj: Object) -> None:
        values = self._indexes[index]
        for value in indexer(obj):
            if (entries := values.get(value)) is not None:
                entries.pop(key, None)
                if not entries:
                    del values[value]


class Informer:
    """One resource's cache and its list-and-watch task. Get one from an InformerFactory."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.resource = resource
        self.cache = Cache()
        self._verbs = client.of(resource)
        self._clock = clock
        self._namespace = namespace
        self._labels, self._fields = label_selector, field_selector
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._revision = ""
        self._backoff = 0.0
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []  # a heap
        self._order = itertools.count()

    def add_handler(self, handler: Handler) -> None:
        """Tell `handler` of every change from now on, and of every object that is there as an add."""
        self._handlers.append(handler)
        for obj in self.cache:
            self._tell(handler.add, obj)

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once the first list is in the cache and has been told."""
        await self._synced.wait()

    @property
    def revision(self) -> int:
        """The resource version up to which the cache shows everything; it never falls on one server (KEP-5504)."""
        return int(self._revision or 0)

    def when(self, revision: int, then: Callable[[], None]) -> None:
        """Call `then` once the cache shows everything up to `revision`: at once where it does already."""
        heapq.heappush(self._waiting, (revision, next(self._order), then))
        self._ring()

    def _ring(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            heapq.heappop(self._waiting)[2]()

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if not self._revision:
                    await self._list()
                await self._watch()
                self._backoff = 0.0
            except ConnectionLost as error:
                await self._wait(error)
            except ApiError as error:
                self._revision = "" if error.is_gone or error.code == 400 else self._revision
                if error.is_gone:
                    _log.debug("relisting", resource=self.resource.plural, reason=str(error))
                await self._wait(error)

    async def _wait(self, error: ApiError | ConnectionLost) -> None:
        """Back off. An expired revision is no fault, so the first relist comes at once."""
        if isinstance(error, ApiError) and error.is_gone and not self._backoff:
            self._backoff = FIRST_BACKOFF
            return
        asked = error.retry_after if isinstance(error, ApiError) else 0.0
        self._backoff = min(max(self._backoff * 2, FIRST_BACKOFF), LAST_BACKOFF)
        seconds = max(asked, self._backoff * (1 + random.random()))  # wait.Backoff with jitter 1.0
        _log.warning("will list and watch again", resource=self.resource.plural, seconds=round(seconds, 1), error=error)
        await self._clock.sleep(seconds)

    async def _list(self) -> None:
        items, revision = await self._verbs.list_all(
            self._namespace, label_selector=self._labels, field_selector=self._fields
        )
        fresh = {key_of(item): self._typed(item) for item in items}
        for gone in [key for key in self.cache._objects if key not in fresh]:
            self._delete(gone)
        for key, obj in fresh.items():
            self._store(key, obj)
        self._revision = revision
        self._ring()
        self._backoff = 0.0
        self._synced.set()

    async def _watch(self) -> None:
        started = self._clock.monotonic()
        told = 0
        watching = self._verbs.watch(
            self._namespace,
            resource_version=self._revision,
            label_selector=self._labels,
            field_selector=self._fields,
            timeout_seconds=int(WATCH_SECONDS * (1 + random.random())),
        )
        async with aclosing(watching) as events:
            async for event in events:
                self._apply(event)
                told += 1
        # reflector.go handleAnyWatch: a server that ends a watch at once without a word is treated as failing.
        if not told and self._clock.monotonic() - started < 1:
            raise ConnectionLost(f"the watch of {self.resource.group_resource} ended at once without an event")

    def _apply(self, event: WatchEvent) -> None:
        obj = event.object
        match event.type:
            case "ADDED" | "MODIFIED":
                self._store(key_of(obj), self._typed(obj))
            case "DELETED":
                self._delete(key_of(obj), self._typed(obj))
            case "ERROR":
                raise ApiError(obj)
        self._revision = version_of(obj) or self._revision
        self._backoff = 0.0
        if self._waiting:
            self._ring()

    def _typed(self, obj: Object) -> Object:
        """The items of a built-in kind's List carry no kind and apiVersion; owners and events need them."""
        if "kind" in obj:
            return obj
        return {"apiVersion": self.resource.api_version, "kind": self.resource.kind, **obj}

    def _store(self, key: Key, obj: Object) -> None:
        old = self.cache.by_key(key)
        if old is not None and uid_of(old) != uid_of(obj):  # deleted and made again while nobody looked
            self._delete(key)
            old = None
        self.cache._put(key, obj)
        if old is None:
            for handler in self._handlers:
                self._tell(handler.add, obj)
        elif version_of(old) != version_of(obj):
            for handler in self._handlers:
                self._tell(handler.update, old, obj)

    def _delete(self, key: Key, last: Object | None = None) -> None:
        old = self.cache._drop(key)
        if old is not None:
            for handler in self._handlers:
                self._tell(handler.delete, last or old)

    def _tell(self, handler: Callable[..., None], *args: Object) -> None:
        try:
            handler(*args)
        except Exception as error:  # noqa: BLE001 because one faulty handler must not stop the cache of all others
            _log.exception("handler failed", resource=self.resource.plural, error=repr(error))


class InformerFactory:
    """The informers that one process's loops share: each resource is listed and watched once."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        self._informers: dict[tuple[Resource, str, str, str], Informer] = {}
        self._tasks = Tasks("informers")
        self._started = False

    def informer(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Informer:
        """The shared informer of these words; made at the first call, started with or after `start`."""
        words = (resource, namespace, label_selector, field_selector)
        if (found := self._informers.get(words)) is None:
            found = self._informers[words] = Informer(
                self.client,
                self.clock,
                resource,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            if self._started:
                self._tasks.start(resource.plural, found.run())
        return found

    def start(self) -> None:
        """Start every informer; those made later start by themselves."""
        if self._started:
            return
        self._started = True
        for (resource, *_), informer in self._informers.items():
            self._tasks.start(resource.plural, informer.run())

    async def synced(self) -> None:
        """Return once every informer made so far has its first list."""
        for informer in list(self._informers.values()):
            await informer.synced()

    async def stop(self) -> None:
        await self._tasks.stop()

    def __iter__(self) -> Iterator[Informer]:
        return iter(list(self._informers.values()))


def owner_index(obj: Object) -> Iterable[str]:
    """Index by the uid of the controlling owner."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            yield reference["uid"]
