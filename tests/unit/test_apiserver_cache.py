"""What is kept of one resource in memory: living objects, and the changes that a watch can start from."""

from __future__ import annotations

from groundplane.apiserver.cache.collection import HISTORY, HISTORY_BYTES, Collection
from groundplane.apiserver.cache.stored import Shape, Window
from groundplane.store.contract import Entry, Event, EventType

PREFIX = "/registry/configmaps/"
HEAD = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{'


def collection() -> Collection:
    return Collection(PREFIX, Shape("ConfigMap", "v1", Window()), 0)


def put(name: str, revision: int, size: int = 0) -> Event:
    value = HEAD + b'"name":"%s"},"data":{"k":"%s"}}' % (name.encode(), b"x" * size)
    return Event(EventType.UPDATE, f"{PREFIX}default/{name}", value, revision, None)


def test_what_cannot_be_read_takes_nothing_with_it() -> None:
    kept = collection()
    good = put("a", 1)
    kept.load([Entry(good.key, good.value, 1, 1), Entry(f"{PREFIX}default/b", b"k8s\x00\x01", 1, 1)])
    assert [s.key for s in kept.below(PREFIX)] == [good.key]
    kept.apply(Event(EventType.UPDATE, f"{PREFIX}default/a", b"no JSON", 2, None))
    kept.apply(Event(EventType.DELETE, f"{PREFIX}default/b", b"", 3, None))
    kept.apply(put("c", 4))
    assert [s.meta["name"] for s in kept.below(PREFIX)] == ["a", "c"]


def test_the_history_is_bounded_in_number_and_bytes() -> None:
    kept = collection()
    for revision in range(1, HISTORY + 11):
        kept.apply(put("a", revision))
    assert kept.since(9) is None and len(kept.since(10) or ()) == HISTORY
    kept = collection()
    for revision in range(1, 201):  # 200 MB, were they all kept
        kept.apply(put("a", revision, 1 << 20))
    changes = kept.since(kept.floor)
    assert changes is not None and 50 < len(changes) <= HISTORY_BYTES >> 20
    assert kept.since(kept.floor - 1) is None
