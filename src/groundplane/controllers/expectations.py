"""What a controller has written and its cache does not show yet, so that it does not write it twice.

Upstream counts the creations and deletions that it waits for, and gives up waiting after five minutes
(pkg/controller/controller_utils.go). A count never comes right when an object was made and unmade while a watch was
interrupted. Here the cache is current once it has reached the resource version of the last write: the versions of one
server are numbers that grow (KEP-5504). A deletion answers without a version, so it is shown once the object is gone
from the cache, is another one, or is being deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from groundplane.client.contract import Object
from groundplane.client.informer import Informer
from groundplane.client.objects import Key, is_deleting, key_of, uid_of, version_of


@dataclass(slots=True)
class _Written:
    version: int = 0
    deleted: dict[str, Key] = field(default_factory=dict)  # by uid


class Expectations:
    """The writes of one controller to the objects of one informer, by the key of the owner that they were made for."""

    def __init__(self, informer: Informer, again: Callable[[Key], None]) -> None:
        self._informer = informer
        self._again = again
        self._written: dict[Key, _Written] = {}

    def wrote(self, owner: Key, answer: Object) -> None:
        """A create or update was answered with this object."""
        written = self._written.setdefault(owner, _Written())
        written.version = max(written.version, int(version_of(answer) or 0))

    def deleted(self, owner: Key, obj: Object) -> None:
        """A delete was answered."""
        self._written.setdefault(owner, _Written()).deleted[uid_of(obj)] = key_of(obj)

    def are_met(self, owner: Key) -> bool:
        """Whether the cache shows all that was written for `owner`. If not, `again` is called when it may.

        (A deletion brings its own event, so only versions have to be waited for.)
        """
        written = self._written.get(owner)
        if written is None:
            return True
        if self._informer.revision < written.version:
            self._informer.when(written.version, lambda: self._again(owner))
            return False
        cache = self._informer.cache
        for uid, key in list(written.deleted.items()):
            obj = cache.by_key(key)
            if obj is None or uid_of(obj) != uid or is_deleting(obj):
                del written.deleted[uid]
        if written.deleted:
            return False
        del self._written[owner]
        return True

    def forget(self, owner: Key) -> None:
        self._written.pop(owner, None)
