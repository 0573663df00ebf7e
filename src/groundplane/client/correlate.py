"""Which events are worth writing: client-go's correlator (tools/record/events_cache.go), without I/O.

Three passes over each event, in this order:
    aggregate   the 10th event in 10 minutes that differs from the others only in its message becomes one
                "(combined from similar events)" event
    count       an event seen before raises the old one's count instead of making a new object
    filter      a source may burst 25 events about one object, then one every 5 minutes
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object

MAX_ENTRIES = 4096
SIMILAR_EVENTS = 10
SIMILAR_SECONDS = 600.0
SPAM_BURST = 25.0
SPAM_PER_SECOND = 1 / 300

V = TypeVar("V")


class Recent(Generic[V]):
    """A dictionary that forgets what was not used for longest."""

    def __init__(self, size: int = MAX_ENTRIES) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        if (value := self._entries.get(key)) is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Hashable, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)


@dataclass(slots=True)
class _Similar:
    at: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the event object written last under a key."""

    name: str
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`event` is what to write: new where `patch` is None, else by patching the object of its name."""

    event: Object
    patch: Object | None
    key: Hashable


class Correlator:
    """The memory of one recorder."""

    def __init__(self) -> None:
        self._similar: Recent[_Similar] = Recent()
        self._seen: Recent[Seen] = Recent()
        self._buckets: Recent[_Bucket] = Recent()

    def decide(self, event: Object, now: float) -> Decision | None:
        """What to write for `event`, None for nothing. `event` carries count 1 and both stamps."""
        event, key = self._aggregate(event, now)
        decision = self._count(event, key)
        return decision if self._allow(_source(event), now) else None

    def written(self, decision: Decision) -> None:
        """The decision was carried out: later ones count up from it."""
        e = decision.event
        self._seen.put(decision.key, Seen(e["metadata"]["name"], e["count"], e["firstTimestamp"]))

    def _aggregate(self, event: Object, now: float) -> tuple[Object, Hashable]:
        group = (*_source(event), event["type"], event["reason"])
        record = self._similar.get(group)
        if record is None or now - record.at > SIMILAR_SECONDS:
            record = _Similar(now)
            self._similar.put(group, record)
        record.messages.add(event["message"])
        record.at = now
        if len(record.messages) < SIMILAR_EVENTS:
            return event, (*group, event["involvedObject"].get("fieldPath"), event["message"])
        record.messages.pop()
        return {**event, "message": f"(combined from similar events): {event['message']}"}, group

    def _count(self, event: Object, key: Hashable) -> Decision:
        seen = self._seen.get(key)
        if seen is None:
            return Decision(event, None, key)
        count = seen.count + 1
        metadata = {**event["metadata"], "name": seen.name}
        merged = {**event, "metadata": metadata, "count": count, "firstTimestamp": seen.first}
        patch = {"count": count, "lastTimestamp": event["lastTimestamp"], "message": event["message"]}
        return Decision(merged, patch, key)

    def _allow(self, source: tuple[str, ...], now: float) -> bool:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = _Bucket(SPAM_BURST, now)
            self._buckets.put(source, bucket)
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.at) * SPAM_PER_SECOND)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def stamped(event: Object, now: float) -> Object:
    """`event` as its first occurrence at `now`."""
    stamp = rfc3339(now)
    return {**event, "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1}


def _source(event: Object) -> tuple[str, ...]:
    source, about = event["source"], event["involvedObject"]
    words = (about.get(word, "") for word in ("kind", "namespace", "name", "uid", "apiVersion"))
    return (source.get("component", ""), source.get("host", ""), *words)
