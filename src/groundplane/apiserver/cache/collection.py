"""All living objects of one resource, sorted by key, and the recent changes that a watch can start from."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable

from groundplane.apiserver.cache.stored import Shape, Stored
from groundplane.base.jsonyaml import DecodeError
from groundplane.base.log import Log
from groundplane.store.contract import Entry, Event, EventType

_log = Log("apiserver.cache")
# Upstream's watch cache keeps at least 100 events and grows with the rate; a fixed, generous ring is simpler. Each
# entry is two references, and keeps what was overwritten or deleted alive: hence also a limit in bytes, so that
# somebody who writes large objects over and over does not fill memory.
HISTORY = 4096
HISTORY_BYTES = 64 << 20


class Change:
    """One change of one object, shared by all watchers; `frames` keeps what was encoded from it."""

    __slots__ = ("_gone", "frames", "previous", "revision", "stored", "type")

    def __init__(self, type_: str, stored: Stored | None, previous: Stored | None, revision: int) -> None:
        self.type = type_
        self.stored = stored  # None for DELETED
        self.previous = previous  # None for ADDED
        self.revision = revision
        self.frames: dict[tuple[object, str], bytes] = {}
        self._gone: Stored | None = None

    def shown(self, type_: str) -> Stored:
        """The object that an event of `type_` shows: the new one, or the last one at this revision for DELETED."""
        if type_ != "DELETED":
            assert self.stored is not None
            return self.stored
        if self._gone is None:
            assert self.previous is not None
            self._gone = self.previous.shape.at(self.previous, self.revision)
        return self._gone

    @property
    def size(self) -> int:
        """Bytes that this keeps alive: what it replaced or deleted."""
        return len(self.previous.raw) if self.previous is not None else 0

    @property
    def key(self) -> str:
        either = self.stored or self.previous
        assert either is not None
        return either.key


Listener = Callable[[Change], None]


class Collection:
    """One resource's objects. `apply` is called for each store event below `prefix`, in order."""

    def __init__(self, prefix: str, shape: Shape, floor: int) -> None:
        self.prefix = prefix
        self.shape = shape
        self._items: dict[str, Stored] = {}
        self._keys: list[str] = []
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._floor = floor  # changes after this revision are all in the history
        self._listeners: dict[Listener, Callable[[], None] | None] = {}
        self.loaded = floor  # the list that this began with; what is not newer is in it
        self.newest = floor

    def __len__(self) -> int:
        return len(self._keys)

    def load(self, entries: list[Entry]) -> None:
        """Take in the entries of the first list, sorted."""
        for entry in entries:
            if (stored := self._read(entry.key, entry.value, entry.revision)) is not None:
                self._items[entry.key] = stored
                self._keys.append(entry.key)

    def _read(self, key: str, value: bytes, revision: int) -> Stored | None:
        """None for what is no JSON: another writer's, which must not take all other objects with it."""
        try:
            return self.shape.stored(key, value, revision)
        except DecodeError as error:
            _log.error("the store holds something that cannot be read; left out", key=key, error=error)
            return None

    def get(self, key: str) -> Stored | None:
        return self._items.get(key)

    def below(self, prefix: str) -> list[Stored]:
        """The objects whose key begins with `prefix`, sorted."""
        items = self._items
        if prefix == self.prefix:
            return [items[k] for k in self._keys]
        first = bisect_left(self._keys, prefix)
        last = bisect_left(self._keys, prefix + "\U0010ffff", first)
        return [items[k] for k in self._keys[first:last]]

    def apply(self, event: Event) -> None:
        key, previous = event.key, self._items.get(event.key)
        if event.type is EventType.DELETE:
            if previous is None:
                return
            del self._items[key]
            del self._keys[bisect_left(self._keys, key)]
            change = Change("DELETED", None, previous, event.revision)
        else:
            stored = self._read(key, event.value, event.revision)
            if stored is None:
                return
            self._items[key] = stored
            if previous is None:
                insort(self._keys, key)
            change = Change("MODIFIED" if previous else "ADDED", stored, previous, event.revision)
        self.newest = event.revision
        self._history.append(change)
        self._history_bytes += change.size
        while len(self._history) > HISTORY or self._history_bytes > HISTORY_BYTES:
            oldest = self._history.popleft()
            self._floor = oldest.revision
            self._history_bytes -= oldest.size
        for listener in list(self._listeners):
            listener(change)

    def replace(self, entries: list[Entry], revision: int) -> None:
        """Begin anew with a list (sorted): what happened in between is unknown, and not all that was heard is true.

        Who can be cut off is, and asks again; the others are told what came of it.
        """
        before, self._items, self._keys = self._items, {}, []
        self.load(entries)
        changes = [Change("DELETED", None, old, revision) for key, old in before.items() if key not in self._items]
        for key, new in self._items.items():
            old = before.get(key)
            if old is None or old.revision != new.revision:
                changes.append(Change("MODIFIED" if old else "ADDED", new, old, new.revision))
        self._history.clear()
        self._history_bytes = 0
        self._floor = self.loaded = self.newest = revision
        for listener, cut in list(self._listeners.items()):
            if cut is not None:
                cut()
                continue
            for change in sorted(changes, key=lambda c: c.revision):
                listener(change)

    def since(self, revision: int) -> list[Change] | None:
        """The changes after `revision`, oldest first; None where some of them are forgotten."""
        if revision < self._floor:
            return None
        found: list[Change] = []
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    @property
    def floor(self) -> int:
        return self._floor

    def listen(self, listener: Listener, cut: Callable[[], None] | None = None) -> None:
        """Call `listener` with every change; `cut`, where given, when changes were missed."""
        self._listeners[listener] = cut

    def unlisten(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)
