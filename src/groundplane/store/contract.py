"""The store's contract: a revisioned log, the truth of the cluster.

What it is for
    The API server keeps every object here and nowhere else. Whatever was answered as written survives `kill -9` and
    power loss (durable drivers), and whoever watches sees every change once, in order.

Vocabulary
    *Key*: a string such as `/registry/pods/default/web-0`; keys sort by their bytes.
    *Revision*: one counter for the whole store. Every successful write takes the next number; revision 0 is "before
    anything" and, in a read, means "the newest". The first write of a fresh store gets revision 1 or higher.
    *Entry*: one key's value as of a revision: `created` is the revision that created the key, `revision` the one that
    last changed it.
    *Compaction*: forgetting what happened up to a revision. The state as of that revision can still be read and watched
    from, anything older cannot; the newest value of each living key always stays.

    *Lease*: a promise to be heard of again. Keys written with one are deleted, like by anybody's `delete`, once it has
    not been kept alive for its time to live. Each such deletion is an event (those of one lease share a revision on
    etcd).
    *Progress*: how far a watch has come although nothing below its prefix changed. There is no message for it in the
    queue: once `sync` has answered r and `pending` was taken, a watch that gives what is new has seen everything up to
    r. (One from further back than memory gives its past first, by `next`.) Clients' bookmarks are made of that.

Life-cycle
    `registry.open_store(url)` gives a started driver; `close()` ends it after all acknowledged writes are safe.
    A driver is used from one event loop only.

A worked example
    r1 = await store.create("/registry/x/a", b"1")          # r1 = 5, say
    r2 = await store.update("/registry/x/a", b"2", r1)      # r2 = 6; with any other expected revision: Conflict
    page = await store.list("/registry/x/")                 # one entry, page.revision == 6
    watch = store.watch("/registry/x/", after=page.revision)
    await store.delete("/registry/x/a", r2)                 # revision 7
    batch = await watch.next()                              # [Event(DELETE, key, value=b"2", revision=7, previous=…)]

A driver is one file under `drivers/`, named in `registry.py`, and passes `tests/contracts/store_suite.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from groundplane.base.errors import GroundError


class StoreError(GroundError):
    """The store could not do what was asked; the sentence says why. Nothing was written."""


class KeyExists(StoreError):
    """`create` of a key that lives."""

    def __init__(self, key: str) -> None:
        super().__init__(f"store: key {key} exists")
        self.key = key


class Conflict(StoreError):
    """Compare-and-set found another revision. `current` is what is there now, None where the key does not live."""

    def __init__(self, key: str, expected: int, current: Entry | None) -> None:
        found = f"revision {current.revision}" if current else "no such key"
        super().__init__(f"store: key {key}: revision {expected} expected, {found}")
        self.key = key
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than what is kept; `oldest` is the oldest that can still be read."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"store: revision {asked} has been compacted; the oldest kept is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not happened yet."""

    retry = True

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"store: revision {asked} is in the future; the newest is {current}")
        self.current = current


class NoSuchLease(StoreError):
    """The lease was never granted, was revoked, or has ended."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"store: no such lease: {lease}")
        self.lease = lease


class TooLarge(StoreError):
    """The value is larger than the medium takes (etcd: --max-request-bytes, 1.5 MiB unless told otherwise)."""

    def __init__(self, key: str, size: int, why: str) -> None:
        super().__init__(f"store: key {key}: {size} bytes are too many for the medium: {why}")


class AlreadyThere(StoreError):
    """A store is where a restored or moved one should be, and nobody said that it may be replaced."""

    def __init__(self, path: str) -> None:
        super().__init__(f"store: {path} exists already, and is not replaced")


class StoreUnavailable(StoreError):
    """The medium refuses (disk full, read-only, peer gone). Reads may work; a write was not acknowledged."""

    retry = True


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    created: int
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """A list's answer. `more`: entries follow the last one. `remaining`: how many (exact), 0 where `more` is false."""

    entries: list[Entry]
    revision: int
    more: bool
    remaining: int


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator asks about: `ground store status`."""

    driver: str
    revision: int
    oldest: int  # the oldest revision that can be read
    keys: int
    size: int  # bytes on the medium, 0 where there is none
    alarms: tuple[str, ...] = ()  # sentences: why writes are refused or will be


class EventType(Enum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `value` is the new value, or for DELETE the last one; `previous` is the entry before the change."""

    type: EventType
    key: str
    value: bytes
    revision: int
    previous: Entry | None


class Watch(Protocol):
    """One watcher's queue. Used by one task."""

    async def next(self) -> list[Event]:
        """Wait for events and return all that are there, oldest first; never an empty list.

        Raises Compacted when the watcher fell so far behind that the driver dropped it (the caller lists again), and
        StoreUnavailable when the store closes. What was queued before the store closed is given first.
        """
        ...

    def pending(self) -> list[Event]:
        """The events that are there now without waiting; may be empty. Raises what `next` raises."""
        ...

    def close(self) -> None:
        """Stop watching; idempotent."""
        ...


class Store(Protocol):
    """All writes are atomic and answered only once they are as durable as the driver gets."""

    @property
    def revision(self) -> int:
        """The newest revision that any read or watch can show."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may write too, so that what this one keeps beside the store is not all there is."""
        ...

    async def sync(self) -> int:
        """The newest revision that anybody wrote, on whatever server; every watch has its events up to there queued.

        For who answers reads from a watch and must not answer from before a write that was acknowledged elsewhere.
        Free where this process is the only writer. Raises StoreUnavailable.
        """
        ...

    async def create(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write a key that must not live; its revision. Raises KeyExists, NoSuchLease, StoreUnavailable."""
        ...

    async def update(self, key: str, value: bytes, expected: int, *, lease: int = 0) -> int:
        """Replace the value whose revision is `expected`; the new revision. The key leaves its former lease (0: none).

        Raises Conflict, NoSuchLease, StoreUnavailable.
        """
        ...

    async def delete(self, key: str, expected: int) -> int:
        """Remove the key whose revision is `expected`; the deletion's revision. Raises Conflict, StoreUnavailable."""
        ...

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        """The entry as of `revision` (0: the newest). Raises Compacted, FutureRevision."""
        ...

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries below `prefix` as of `revision`, sorted, from key `start` (inclusive) on, `limit` at most (0: all).

        A caller that pages passes `start = last key + "\\0"` and the first page's revision, and so sees one moment.
        Raises Compacted, FutureRevision.
        """
        ...

    async def count(self, prefix: str) -> int:
        """How many keys live below `prefix` now."""
        ...

    def watch(self, prefix: str, after: int) -> Watch:
        """Every event below `prefix` with a revision > `after`, without loss, doubling or reordering.

        An event is queued to its watchers before the write that caused it is answered, so that who has written, and
        then looks at `pending()`, finds it. Raises Compacted where `after` is older than what is kept, FutureRevision.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget history up to and including `revision`, save what the state as of `revision` needs.

        A revision that is compacted already changes nothing. Raises FutureRevision, StoreUnavailable.
        """
        ...

    async def grant(self, seconds: float) -> int:
        """A new lease, which ends `seconds` (at least 1) from now unless kept alive; it outlives a restart."""
        ...

    async def keep_alive(self, lease: int) -> None:
        """Begin the lease's time again. Raises NoSuchLease, StoreUnavailable."""
        ...

    async def revoke(self, lease: int) -> None:
        """End the lease now and delete its keys. Raises NoSuchLease, StoreUnavailable."""
        ...

    async def status(self) -> Status:
        """What is stored and what is in the way. Raises StoreUnavailable."""
        ...

    async def check(self) -> Sequence[str]:
        """Read all that is stored and compare it with what must hold; a sentence for each fault found, or none."""
        ...

    async def backup(self, path: str) -> int:
        """Copy everything as of one moment into a new file, while writes go on; the revision of that moment.

        The file is one that the sqlite driver opens, whichever driver wrote it, durable when this returns, mode 0600;
        nothing is left of a backup that failed. `backups.restore` reads it. Raises StoreError, StoreUnavailable.
        """
        ...

    async def close(self) -> None:
        """Finish acknowledged writes, end all watches, release the medium; idempotent."""
        ...
