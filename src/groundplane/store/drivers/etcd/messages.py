"""etcd's words in JSON (api/etcdserverpb/rpc.proto): keys and values in base64, long numbers as text, zeros left out.

    PREFIX/!ground/fence/ID   the right of one store to write; see writes.py
    PREFIX/!ground/mark       who made a revision
    PREFIX/!ground/sync       written to see a watch arrive at a revision
    PREFIX/…                  the store's keys

The watch begins at `sync`, so fences and marks are not carried to anybody; the store's own keys sort above all three.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from groundplane.store.contract import Entry, Event, EventType, StoreError

Message = dict[str, Any]
_AREA = "/!ground/"
_FIRST = _AREA + "sync\0"


class Keys:
    """Where a store's keys are in etcd; made once from the URL's prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._cut = len(prefix.encode())
        self.mark = _text(f"{prefix}{_AREA}mark")
        self.sync = _text(f"{prefix}{_AREA}sync")
        self._watched = {"key": self.sync, "range_end": _text(f"{prefix}0")}  # "0" follows "/"

    def fence(self, store: str) -> str:
        return _text(f"{self._prefix}{_AREA}fence/{store}")

    def key(self, key: str) -> str:
        """Raises StoreError for a key that is not the store's to have."""
        if not key.startswith("/") or key < _FIRST:
            raise StoreError(f"store: key {key!r}: on etcd keys begin with `/` and sort above `{_AREA}`")
        return _text(self._prefix + key)

    def range(self, prefix: str = "", start: str = "") -> Message:
        """The keys below `prefix` from `start` on."""
        first = max(_FIRST, prefix, start)
        end = (self._prefix + prefix).encode() + b"\xf4\x90" if prefix else f"{self._prefix}0".encode()
        # No character is encoded above F4 8F BF BF, so F4 90 follows every key that begins with `prefix`.
        return {"key": _text(self._prefix + first), "range_end": _encoded(min(end, f"{self._prefix}0".encode()))}

    def watch(self, after: int, *, previous: bool = False) -> Message:
        """A watch of everything, the sync key included."""
        return {"create_request": {**self._watched, "start_revision": str(after + 1), "prev_kv": previous}}

    def entry(self, kv: Message) -> Entry:
        key = b64decode(kv["key"])[self._cut :].decode()
        return Entry(key, value_of(kv), int(kv["create_revision"]), int(kv["mod_revision"]))

    def is_ours(self, kv: Message) -> bool:
        """Whether it is the store's key, not the sync key."""
        return bool(kv["key"] != self.sync)

    def names(self, keys: Sequence[str]) -> list[str]:
        """The store's names of etcd's keys; others' are left out."""
        raw = map(b64decode, keys)
        return [k[self._cut :].decode() for k in raw if k.startswith(self._prefix.encode() + b"/")]

    def name(self, kv: Message) -> str:
        return b64decode(kv["key"])[self._cut :].decode()

    def event(self, message: Message) -> Event:
        """One event of a watch that was opened with `previous`."""
        kv = message["kv"]
        before = self.entry(message["prev_kv"]) if "prev_kv" in message else None
        return change(self.name(kv), message, before)


def change(key: str, message: Message, before: Entry | None) -> Event:
    """One event; `before` is the entry that it changed."""
    kv = message["kv"]
    revision = int(kv["mod_revision"])
    if message.get("type") == "DELETE":
        return Event(EventType.DELETE, key, before.value if before else b"", revision, before)
    if before is None:
        return Event(EventType.CREATE, key, value_of(kv), revision, None)
    return Event(EventType.UPDATE, key, value_of(kv), revision, before)


def value_of(kv: Message) -> bytes:
    return b64decode(kv.get("value", ""))


def put(key: str, value: bytes = b"", lease: int = 0) -> Message:
    request = {"key": key, "value": _encoded(value)}
    if lease:
        request["lease"] = str(lease)
    return {"request_put": request}


def is_at(key: str, revision: int) -> Message:
    """The condition that `key` was last changed at `revision`; 0: it does not live."""
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def revision_of(answer: Message) -> int:
    """etcd's newest revision when it answered."""
    return int(answer["header"].get("revision", 0))


def found(answer: Message) -> Message | None:
    """The one key of a range's answer."""
    kvs = answer.get("kvs")
    return kvs[0] if kvs else None


def _text(key: str) -> str:
    return _encoded(key.encode())


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()
