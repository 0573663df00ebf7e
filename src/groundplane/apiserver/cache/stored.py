"""One object as it is kept: its JSON with the resource version spliced in, and its dict while somebody needs it.

The store's bytes are the storage version's JSON without `metadata.resourceVersion` (as upstream: the revision is the
key's own). What goes over the wire is the same bytes with the revision put at the front of `metadata`:

    {"kind":"Pod","apiVersion":"v1","metadata":{                       …rest of the stored bytes
                                               "resourceVersion":"42",

so a GET copies no tree and encodes nothing. The dict is decoded on demand and dropped again by a `Window`, because a
decoded object takes about five times its bytes.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from groundplane.base import jsonyaml

Object = dict[str, Any]


class Window:
    """The most recently used decoded objects; an older one gives its dict back."""

    __slots__ = ("_recent", "_size")

    def __init__(self, size: int = 2048) -> None:
        self._size = size
        self._recent: deque[Stored] = deque()

    def keep(self, stored: Stored) -> None:
        self._recent.append(stored)
        if len(self._recent) > self._size:
            self._recent.popleft().forget()


class Shape:
    """What is common to all objects of one stored kind: the first bytes of each."""

    __slots__ = ("api_version", "head", "kind", "window")

    def __init__(self, kind: str, api_version: str, window: Window) -> None:
        self.kind = kind
        self.api_version = api_version
        self.head = b'{"kind":"%s","apiVersion":"%s","metadata":{' % (kind.encode(), api_version.encode())
        self.window = window

    def encode(self, obj: Object) -> bytes:
        """The bytes to store: kind, apiVersion, metadata first, no resource version."""
        meta = obj["metadata"]
        if "resourceVersion" in meta:
            meta = {k: v for k, v in meta.items() if k != "resourceVersion"}
        ordered: Object = {"kind": self.kind, "apiVersion": self.api_version, "metadata": meta}
        for key, value in obj.items():
            if key not in ordered:
                ordered[key] = value
        # A copy, because orjson leaves its whole buffer behind its answer: 8 KB for an object of 1 KB (measured).
        return bytes(memoryview(jsonyaml.dumps(ordered)))

    def stored(self, key: str, raw: bytes, revision: int, obj: Object | None = None) -> Stored:
        """`raw` as of `revision`; `obj`, where the caller has it, is the same object as a dict."""
        if not raw.startswith(self.head):  # another server wrote it: its key order may differ
            raw = self.encode(jsonyaml.loads(raw))
        stored = Stored(key, revision, raw, self)
        if obj is not None:
            stored.remember(obj)
        return stored

    def at(self, stored: Stored, revision: int) -> Stored:
        """The same content at another revision: what a DELETED event shows."""
        return Stored(stored.key, revision, stored.raw, self)


class Stored:
    """An object at one revision. Immutable, its dict included: it is shared with everyone in this process."""

    __slots__ = ("_object", "_shape", "key", "raw", "revision")

    def __init__(self, key: str, revision: int, raw: bytes, shape: Shape) -> None:
        self.key = key
        self.revision = revision
        self.raw = raw  # the store's own bytes, shared with it
        self._object: Object | None = None
        self._shape = shape

    @property
    def wire(self) -> bytes:
        """The object's JSON with its resource version."""
        head = self._shape.head
        return b'%s"resourceVersion":"%d",%s' % (head, self.revision, self.raw[len(head) :])

    @property
    def item(self) -> bytes:
        """The same as an item of a list, which has no kind and apiVersion of its own."""
        return b'{"metadata":{"resourceVersion":"%d",%s' % (self.revision, self.raw[len(self._shape.head) :])

    @property
    def object(self) -> Object:
        """The object as a dict with its resource version; never changed in place."""
        if self._object is None:
            self.remember(jsonyaml.loads(self.wire))
            assert self._object is not None
        return self._object

    @property
    def meta(self) -> Object:
        meta: Object = self.object["metadata"]
        return meta

    @property
    def shape(self) -> Shape:
        return self._shape

    def remember(self, obj: Object) -> None:
        if self._object is None:
            self._object = obj
            self._shape.window.keep(self)

    def forget(self) -> None:
        self._object = None
