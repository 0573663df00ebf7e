"""Writes: one transaction each, and the truth about those whose answer was lost.

    if    the key's revision is the expected one (0: it does not live)
    and   our fence is as we know it
    then  put or delete the key; put our mark             all of it is one revision
    else  read the key and the fence

The *mark* is one key whose value names the write, so that a revision tells who made it, even where two servers wrote
the same bytes. The *fence* is a key of this store alone. When a connection is cut, or a member paused, between our
question and its answer, the transaction may have happened, or may yet: a paused member carries it out when it wakes. So

    1. the fence is put again, by whatever member answers: what was sent under the old one can no longer happen
    2. the view catches up to there: what has happened is in it
    3. each change of the key since then whose revision bears our mark is ours: the write is answered with it
    4. where there is none, it did not happen and never will: it is sent again, under the new fence

Nothing is answered before its change was found, nothing is sent twice that could still happen, and a write that
somebody else beat is a Conflict. Only where no member answers for the whole time, or history is compacted meanwhile,
the end is StoreUnavailable, which promises nothing. The fence hangs on a lease, so it goes when its store is gone; a
write that finds no fence is refused by etcd and sent again under a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from groundplane.base.log import Log
from groundplane.store.contract import Entry, EventType, NoSuchLease, StoreError, StoreUnavailable, TooLarge
from groundplane.store.drivers.etcd import messages
from groundplane.store.drivers.etcd.feed import RANGE, TXN, Feed
from groundplane.store.drivers.etcd.gateway import SPACE, Gateway, Lost, Refused
from groundplane.store.drivers.etcd.messages import Keys, Message

GRANT, RENEW, REVOKE = "/v3/lease/grant", "/v3/lease/keepalive", "/v3/lease/revoke"
_log = Log("store.etcd")
_FENCE_SECONDS = 3600
_FAREWELL = 1.0  # seconds for giving the fence back
_NO_LEASE = "lease not found"
_TOO_LARGE = ("too large", "larger than max")


class Other(Exception):
    """The key is at another revision than expected: `current`, None where it does not live."""

    def __init__(self, current: Entry | None) -> None:
        super().__init__()
        self.current = current


class Writer:
    """Sends the transactions of one store. `name` is its own, and no other's ever."""

    def __init__(self, gateway: Gateway, keys: Keys, feed: Feed, name: str) -> None:
        self._gateway = gateway
        self._keys = keys
        self._feed = feed
        self._name = name
        self._fence_key = keys.fence(name)
        self._fence = 0
        self._lease = 0
        self._fencing = asyncio.Lock()
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Put the first fence; where etcd takes no writes now, the first write does it."""
        try:
            await self._feed.reach(await self._put_fence(0))
        except StoreError as error:
            _log.warning("etcd takes no writes now", why=str(error))

    async def put(self, key: str, value: bytes, expected: int, lease: int) -> int:
        """The revision. Raises Other, NoSuchLease, TooLarge, StoreUnavailable."""
        kind = EventType.UPDATE if expected else EventType.CREATE
        try:
            return await self._write(key, expected, kind, messages.put(self._keys.key(key), value, lease))
        except Refused as refused:
            if _NO_LEASE in str(refused):
                raise NoSuchLease(lease) from None
            if any(words in str(refused) for words in _TOO_LARGE):
                raise TooLarge(key, len(value), str(refused)) from None
            raise refused.error() from refused

    async def delete(self, key: str, expected: int) -> int:
        """The revision. Raises Other, StoreUnavailable."""
        try:
            request = {"request_delete_range": {"key": self._keys.key(key)}}
            return await self._write(key, expected, EventType.DELETE, request)
        except Refused as refused:
            raise refused.error() from refused

    async def _write(self, key: str, expected: int, kind: EventType, request: Message) -> int:
        end = asyncio.get_running_loop().time() + self._gateway.patience
        while True:
            fence = self._fence or await self._put_fence(0)
            mark = f"{self._name}-{next(self._numbers)}".encode()
            begin = self._feed.view.revision  # whatever becomes of this attempt is above
            try:
                answer = await self._send(self._keys.key(key), expected, request, fence, mark)
            except Refused as refused:
                # etcd carries out the write that fills its database, and refuses it all the same (etcdserver/apply.go,
                # quotaApplierV3). It has answered, so nothing comes later, and no fence is needed (nor room for it).
                if SPACE in str(refused) and (revision := await self._find_soon(key, kind, begin, mark)):
                    return revision
                raise
            except Lost as lost:
                await self._feed.reach(await self._put_fence(fence))
                if revision := await self._find(key, kind, begin, mark):
                    return revision
                if asyncio.get_running_loop().time() > end:
                    raise StoreUnavailable(f"store: {key} was not written: etcd did not answer: {lost}") from lost
                continue
            revision = messages.revision_of(answer)
            if answer.get("succeeded"):
                await self._feed.reach(revision)
                return revision
            there, held = (messages.found(part["response_range"]) for part in answer["responses"])
            if (standing := int(held["mod_revision"]) if held else 0) == fence:
                raise Other(await self._seen(there, revision))
            # Put by another write of ours, or gone with its lease: nothing was written, and this goes again.
            self._fence = standing if self._fence == fence else self._fence

    async def _send(self, name: str, expected: int, request: Message, fence: int, mark: bytes) -> Message:
        """The transaction. Raises Refused, Lost, StoreUnavailable."""
        question = {
            "compare": [messages.is_at(name, expected), messages.is_at(self._fence_key, fence)],
            "success": [request, messages.put(self._keys.mark, mark)],
            "failure": [{"request_range": {"key": name}}, {"request_range": {"key": self._fence_key}}],
        }
        return await self._gateway.call(TXN, question, repeat=False)

    async def _seen(self, there: Message | None, revision: int) -> Entry | None:
        """What a refused write met, once the view shows it too."""
        if there is None:
            await self._feed.catch_up(revision)
            return None
        await self._feed.reach(int(there["mod_revision"]))
        return self._keys.entry(there)

    async def _find_soon(self, key: str, kind: EventType, after: int, mark: bytes) -> int:
        """As `_find`, once the view had its time to be where etcd is now."""
        await self._feed.approach(messages.revision_of(await self._feed.ask(RANGE, {"key": self._keys.mark})))
        return await self._find(key, kind, after, mark)

    async def _find(self, key: str, kind: EventType, after: int, mark: bytes) -> int:
        """The revision above `after` at which `key` was changed under `mark`; 0 where it was not."""
        recent = self._feed.view.recent
        if recent.floor > after:
            raise StoreUnavailable(f"store: etcd did not answer, and whether {key} was written cannot be told any more")
        for event in recent.after(after):
            if event.key == key and event.type is kind:
                question = {"key": self._keys.mark, "revision": str(event.revision)}
                there = messages.found(await self._feed.ask(RANGE, question))
                # The mark of this very revision: an older value is shown by revisions that bear none.
                if there and int(there["mod_revision"]) == event.revision and messages.value_of(there) == mark:
                    return event.revision
        return 0

    async def _put_fence(self, old: int) -> int:
        """The fence's revision, another one than `old`: put now, or by another write meanwhile. Raises StoreError."""
        async with self._fencing:
            if self._fence == old:
                # Repeated where an answer is lost: a fence that is put twice only makes more writes try again.
                fence = messages.put(self._fence_key, b"", await self._granted())
                self._fence = messages.revision_of(
                    await self._feed.ask(TXN, {"success": [fence, messages.put(self._keys.sync)]})
                )
            return self._fence

    async def _granted(self) -> int:
        """The fence's lease, which lives: a new one where there is none. Raises StoreError."""
        if not (self._lease and await self.keep_fence()):
            self._lease = int((await self._feed.ask(GRANT, {"TTL": str(_FENCE_SECONDS)}))["ID"])
        return self._lease

    async def keep_fence(self) -> bool:
        """Begin the hour of the fence's lease again; whether it lives. Raises StoreError."""
        answer = await self._feed.ask(RENEW, {"ID": str(self._lease)})
        return int(answer["result"].get("TTL", 0)) > 0

    async def drop_fence(self) -> None:
        """At the end: whatever of ours is still on its way does not happen."""
        if self._lease:
            with contextlib.suppress(Refused, Lost, StoreError, TimeoutError):  # it ends by itself too
                async with asyncio.timeout(_FAREWELL):
                    await self._gateway.call(REVOKE, {"ID": str(self._lease)}, repeat=False)
