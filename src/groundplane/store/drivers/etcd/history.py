"""What is older than the view's recent events: read from etcd at its revision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from groundplane.base.log import Log
from groundplane.store.contract import Compacted, Entry, Event, FutureRevision, Page, StoreUnavailable
from groundplane.store.drivers.etcd import messages
from groundplane.store.drivers.etcd.feed import PAGE, RANGE, TXN, WATCH, Feed, held
from groundplane.store.drivers.etcd.gateway import Gateway, Lost, Refused
from groundplane.store.drivers.etcd.messages import Keys, Message
from groundplane.store.fanout import QueueWatch

_log = Log("store.etcd")


class History:
    """Reads of the past."""

    def __init__(self, gateway: Gateway, keys: Keys, feed: Feed) -> None:
        self._gateway = gateway
        self._keys = keys
        self._feed = feed
        self._oldest = 1
        self._reading: set[asyncio.Task[list[Event]]] = set()

    async def stop(self) -> None:
        """End the reads of watches that were not given their past yet."""
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    def read(self, prefix: str, after: int, up_to: int) -> asyncio.Task[list[Event]]:
        """`events` as a task that ends with the store, whoever waits for it."""
        reading = held(self.events(prefix, after, up_to))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        return reading

    async def get(self, key: str, revision: int) -> Entry | None:
        """Raises Compacted."""
        found = messages.found(await self._range({"key": self._keys.key(key)}, revision))
        return self._keys.entry(found) if found else None

    async def page(self, prefix: str, start: str, limit: int, revision: int) -> Page:
        """Raises Compacted."""
        entries, remaining = list[Entry](), 1
        while remaining and not (limit and len(entries) == limit):
            size = min(PAGE, limit - len(entries)) if limit else PAGE
            answer = await self._range({**self._keys.range(prefix, start), "limit": str(size)}, revision)
            found = [self._keys.entry(kv) for kv in answer.get("kvs", ())]
            remaining = int(answer.get("count", 0)) - len(found)
            entries += found
            start = entries[-1].key + "\0" if entries else start
        return Page(entries, revision, remaining > 0, remaining)

    async def _range(self, question: Message, revision: int) -> Message:
        try:
            return await self._gateway.call(RANGE, {**question, "revision": str(revision)}, repeat=True)
        except Refused as refused:
            if "compacted" in str(refused):
                raise Compacted(revision, await self.oldest()) from None
            if "future revision" in str(refused):
                raise FutureRevision(revision, self._feed.view.revision) from None
            raise refused.error() from refused

    async def oldest(self) -> int:
        """The oldest revision that can be read, 0 where nothing was ever compacted.

        No answer of etcd tells it (only a watch that comes too late is told), so it is searched for: about twenty short
        questions.
        """
        readable = self._feed.view.revision
        low = self._oldest
        while low < readable:
            middle = (low + readable) // 2
            try:
                question = {"key": self._keys.sync, "keys_only": True, "revision": str(middle)}
                await self._gateway.call(RANGE, question, repeat=True)
            except Refused as refused:
                if "compacted" not in str(refused):
                    raise refused.error() from refused
                low = middle + 1
            else:
                readable = middle
        self._oldest = readable
        return readable if readable > 1 else 0

    async def events(self, prefix: str, after: int, up_to: int) -> list[Event]:
        """The changes below `prefix` in (`after`, `up_to`]. Raises Compacted, StoreUnavailable."""
        question = self._keys.watch(after, previous=True)
        while True:
            # Written so that the end of what is asked for is sure to come, whatever was changed at `up_to`.
            marked = await self._feed.ask(TXN, {"success": [messages.put(self._keys.sync)]})
            end, found = messages.revision_of(marked), list[Event]()
            try:
                async with asyncio.timeout(self._gateway.patience), self._gateway.stream(WATCH, question) as incoming:
                    async for message in incoming:
                        if oldest := int(message.get("compact_revision", 0)):
                            raise Compacted(after, oldest)
                        changes = message.get("events") or ()
                        found += self._below(prefix, changes, up_to)
                        if changes and int(changes[-1]["kv"]["mod_revision"]) >= end:
                            return found
            except (Lost, TimeoutError) as error:
                _log.debug("reading the past was cut off; trying again", error=str(error))
            except Refused as refused:
                raise refused.error() from refused

    def _below(self, prefix: str, changes: Sequence[Message], up_to: int) -> list[Event]:
        ours = (c for c in changes if self._keys.is_ours(c["kv"]) and int(c["kv"]["mod_revision"]) <= up_to)
        return [e for e in map(self._keys.event, ours) if e.key.startswith(prefix)]


class PastWatch:
    """A `contract.Watch` that begins before what the view remembers: first what etcd tells of then, then `live`."""

    def __init__(self, history: History, prefix: str, after: int, up_to: int, live: QueueWatch) -> None:
        self._history = history
        self._span = (prefix, after, up_to)
        self._live = live
        self._told = False
        self._reading: asyncio.Task[list[Event]] | None = None

    async def next(self) -> list[Event]:
        if self._told:
            return await self._live.next()
        reading = self._read()
        await asyncio.wait((reading,))
        return self._tell(_result(reading)) or await self._live.next()

    def pending(self) -> list[Event]:
        if self._told:
            return self._live.pending()
        reading = self._read()
        return self._tell(_result(reading)) if reading.done() else []

    def _read(self) -> asyncio.Task[list[Event]]:
        if self._reading is None:
            self._reading = self._history.read(*self._span)
        return self._reading

    def _tell(self, past: list[Event]) -> list[Event]:
        self._told = True
        return past + self._live.pending()

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._told = True
        self._live.close()


def _result(reading: asyncio.Task[list[Event]]) -> list[Event]:
    if reading.cancelled():
        raise StoreUnavailable("store: closed")
    return reading.result()
