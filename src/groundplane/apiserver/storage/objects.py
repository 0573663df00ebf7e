"""One resource's objects: read from the cache, written to the store, in upstream's keys and bytes."""

from __future__ import annotations

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.collection import Collection
from groundplane.apiserver.cache.feed import Cache
from groundplane.apiserver.cache.stored import Object, Stored
from groundplane.apiserver.storage.shortlived import ShortLived
from groundplane.base.errors import GroundError
from groundplane.store.contract import Conflict, KeyExists, StoreUnavailable


class Raced(GroundError):
    """Somebody else changed the object between our read and our write: read again and decide again."""

    retry = True


class Objects:
    """The objects below one key prefix. Every read drains the feed first, so a reader sees all answered writes."""

    def __init__(
        self,
        cache: Cache,
        prefix: str,
        group: str,
        plural: str,
        *,
        namespaced: bool,
        short_lived: ShortLived | None = None,
    ) -> None:
        self._cache = cache
        self._short_lived = short_lived
        self._namespaced = namespaced
        self.prefix = prefix
        self.group = group
        self.plural = plural

    @property
    def collection(self) -> Collection:
        return self._cache.collection(self.prefix)

    @property
    def cache(self) -> Cache:
        return self._cache

    def key(self, namespace: str, name: str) -> str:
        """`namespace` is not looked at where the resource has none (a Namespace's own path names one)."""
        return f"{self.prefix}{namespace}/{name}" if self._namespaced else self.prefix + name

    def scope(self, namespace: str) -> str:
        """The key prefix of a whole namespace, or of the whole resource."""
        return f"{self.prefix}{namespace}/" if namespace and self._namespaced else self.prefix

    def find(self, namespace: str, name: str) -> Stored | None:
        self._cache.drain()
        return self.collection.get(self.key(namespace, name))

    def get(self, namespace: str, name: str) -> Stored:
        """The object. Raises NotFound."""
        if (stored := self.find(namespace, name)) is None:
            raise statuses.not_found(self.group, self.plural, name)
        return stored

    def below(self, namespace: str = "") -> list[Stored]:
        self._cache.drain()
        return self.collection.below(self.scope(namespace))

    async def create(self, namespace: str, name: str, obj: Object) -> Stored:
        """Write a new object. Raises AlreadyExists."""
        key, raw = self.key(namespace, name), self.collection.shape.encode(obj)
        try:
            if self._short_lived is None:
                revision = await self._cache.store.create(key, raw)
            else:
                revision = await self._short_lived.write(lambda n: self._cache.store.create(key, raw, lease=n))
        except KeyExists:
            raise statuses.already_exists(self.group, self.plural, name) from None
        except StoreUnavailable as error:
            raise _unavailable(error) from error
        return self._written(key, raw, revision, obj)

    async def replace(self, old: Stored, obj: Object) -> Stored:
        """Write `obj` in place of `old`; nothing is written where nothing differs. Raises Raced."""
        if obj == old.object or _same_but_version(obj, old.object):
            return old
        raw = self.collection.shape.encode(obj)
        try:
            if self._short_lived is None:
                revision = await self._cache.store.update(old.key, raw, old.revision)
            else:
                revision = await self._short_lived.write(
                    lambda n: self._cache.store.update(old.key, raw, old.revision, lease=n)
                )
        except Conflict as error:
            raise Raced(str(error)) from error
        except StoreUnavailable as error:
            raise _unavailable(error) from error
        return self._written(old.key, raw, revision, obj)

    async def remove(self, old: Stored) -> Stored:
        """Delete `old`; what is answered is its last content at the deletion's revision. Raises Raced."""
        try:
            revision = await self._cache.store.delete(old.key, old.revision)
        except Conflict as error:
            raise Raced(str(error)) from error
        except StoreUnavailable as error:
            raise _unavailable(error) from error
        self._cache.drain()
        return old.shape.at(old, revision)

    def _written(self, key: str, raw: bytes, revision: int, obj: Object) -> Stored:
        """The kept form of what was just written, with its dict, so that nobody decodes it again."""
        self._cache.drain()
        seen = self.collection.get(key)
        stamped = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
        if seen is not None and seen.revision == revision:
            seen.remember(stamped)
            return seen
        return self.collection.shape.stored(key, raw, revision, stamped)


def _same_but_version(a: Object, b: Object) -> bool:
    """Equal apart from `metadata.resourceVersion`, which the store sets."""
    if a.keys() != b.keys() or any(a[k] != b[k] for k in a if k != "metadata"):
        return False
    one, two = a["metadata"], b["metadata"]
    return {k: v for k, v in one.items() if k != "resourceVersion"} == {
        k: v for k, v in two.items() if k != "resourceVersion"
    }


def _unavailable(error: StoreUnavailable) -> statuses.StatusError:
    return statuses.unavailable(f"the store cannot be written: {error}")
