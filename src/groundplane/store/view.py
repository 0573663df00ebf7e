"""What every driver keeps in memory: the newest entries in key order, the recent events, the watchers.

The newest state answers `get`, `list` and `count` without touching the medium. An older state is the newest one with
the events since then undone, which is cheap where it happens: a client that pages a list is seconds behind, not hours.
What is older than the recent events is the driver's business (SQL, or nobody's).

    apply(events):   recent ◄── events          (1) so that a watch opened now finds them
                     entries, keys ◄── events   (2) so that a read finds them
                     watchers' queues ◄── events(3) before the writer is answered
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from groundplane.store.contract import Compacted, Entry, Event, EventType, FutureRevision, Page
from groundplane.store.fanout import FanOut, QueueWatch
from groundplane.store.keys import SortedKeys, prefix_end


class Recent:
    """The last events, oldest first, all of those above `floor`: `after(r)` is a slice.

    Holds at most `limit` events and about `limit_bytes` of values (0: no limit). Revisions rise, but with gaps and in
    groups where others write to the same etcd; events of one revision are kept or forgotten together.
    """

    def __init__(self, floor: int, *, limit: int = 0, limit_bytes: int = 0) -> None:
        self.floor = floor
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._events: list[Event] = []
        self._start = 0  # where the list begins; the part before it is dead and cut off when it is half of all

    def extend(self, events: Sequence[Event]) -> None:
        self._events.extend(events)
        self._bytes += sum(len(e.value) for e in events)
        excess = len(self) - self._limit if self._limit else 0
        if excess > 0:
            self.forget(self._events[self._start + excess - 1].revision)
        while self._limit_bytes and self._bytes > self._limit_bytes and len(self) > 1:
            self.forget(self._events[self._start].revision)

    def after(self, revision: int) -> list[Event]:
        """The events above `revision`, which must be at least `floor`."""
        return self._events[self._position(revision) :]

    def forget(self, revision: int) -> None:
        """Drop the events up to and including `revision`."""
        end = self._position(revision)
        self._bytes -= sum(len(e.value) for e in self._events[self._start : end])
        self.floor = max(self.floor, revision)
        self._start = end
        if self._start * 2 > len(self._events):
            del self._events[: self._start]
            self._start = 0

    def _position(self, revision: int) -> int:
        """Where in the list the events above `revision` begin."""
        return bisect_right(self._events, revision, self._start, key=_revision)

    def __len__(self) -> int:
        return len(self._events) - self._start


def _revision(event: Event) -> int:
    return event.revision


class View:
    """The newest state of a store and the way back from it."""

    def __init__(self, entries: Iterable[Entry], revision: int, oldest: int, recent: Recent) -> None:
        self.revision = revision
        self.oldest = oldest
        self.entries: dict[str, Entry] = {e.key: e for e in entries}
        self.recent = recent
        self.watchers = FanOut()
        self.written = 0  # bytes of all values that were applied
        self._keys = SortedKeys(self.entries)

    def apply(self, events: Sequence[Event]) -> None:
        """Make committed writes visible, oldest first: to reads, to new watches, and to each watcher's queue."""
        self.recent.extend(events)
        for event in events:
            key = event.key
            self.written += len(event.value)  # a deletion's: the value that it makes history of
            if event.type is EventType.DELETE:
                del self.entries[key]
                self._keys.remove(key)
                continue
            created = event.revision if event.previous is None else event.previous.created
            self.entries[key] = Entry(key, event.value, created, event.revision)
            if event.previous is None:
                self._keys.add(key)
        self.revision = events[-1].revision
        self.watchers.publish(events)

    def advance(self, revision: int) -> None:
        """What happened up to `revision` concerned no key of this store."""
        self.revision = max(self.revision, revision)

    def check(self, revision: int) -> None:
        """Raises Compacted, FutureRevision where a state cannot be read or watched from."""
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision < self.oldest:
            raise Compacted(revision, self.oldest)

    def reaches(self, revision: int) -> bool:
        """Whether the recent events lead back to `revision`."""
        return revision >= self.recent.floor

    def get(self, key: str, revision: int) -> Entry | None:
        """As of a revision that `reaches`."""
        for event in self.recent.after(revision):
            if event.key == key:
                return event.previous
        return self.entries.get(key)

    def newest_page(self, prefix: str, start: str, limit: int) -> Page:
        entries = self.entries
        end = prefix_end(prefix)
        keys = self._keys.range(max(prefix, start), end)
        if not limit:
            return Page([entries[k] for k in keys], self.revision, False, 0)
        found = [entries[k] for k, _ in zip(keys, range(limit), strict=False)]
        remaining = self._keys.count(found[-1].key + "\0", end) if found else 0
        return Page(found, self.revision, remaining > 0, remaining)

    def page_at(self, prefix: str, start: str, limit: int, revision: int) -> Page:
        """As of a revision that `reaches`."""
        undone: dict[str, Entry | None] = {}
        for event in self.recent.after(revision):
            if event.key.startswith(prefix) and event.key >= start:
                undone.setdefault(event.key, event.previous)
        if not undone:
            page = self.newest_page(prefix, start, limit)
            return Page(page.entries, revision, page.more, page.remaining)
        newest = self._keys.range(max(prefix, start), prefix_end(prefix))
        then = [self.entries[k] for k in newest if k not in undone]
        then.extend(e for e in undone.values() if e is not None)
        then.sort(key=lambda e: e.key)
        return cut(then, limit, revision)

    def count(self, prefix: str) -> int:
        return self._keys.count(prefix, prefix_end(prefix))

    def watch(self, prefix: str, after: int) -> QueueWatch:
        """From a revision that `reaches`."""
        backlog = [e for e in self.recent.after(after) if e.key.startswith(prefix)]
        return self.watchers.add(prefix, after, backlog)

    def problems(self) -> list[str]:
        """What does not agree with itself: keys against entries, the recent events against what they led to."""
        found = []
        if list(self._keys.range("", prefix_end(""))) != sorted(self.entries):
            found.append("the keys in order are not the keys of the entries")
        events = self.recent.after(self.recent.floor)
        if [e.revision for e in events] != sorted(e.revision for e in events):
            found.append("the recent changes are out of order")
        for event in {e.key: e for e in events}.values():  # the last one of each key
            entry = self.entries.get(event.key)
            if event.type is EventType.DELETE:
                if entry is not None:
                    found.append(f"key {event.key} was deleted at revision {event.revision} and is there")
            elif entry is None or (entry.value, entry.revision) != (event.value, event.revision):
                found.append(f"key {event.key} is not as revision {event.revision} left it")
        return found


def cut(entries: list[Entry], limit: int, revision: int) -> Page:
    """The first `limit` (0: all) of sorted entries as a page."""
    if not limit or len(entries) <= limit:
        return Page(entries, revision, False, 0)
    return Page(entries[:limit], revision, True, len(entries) - limit)
