"""GET with `watch`: the changes of a selection from a revision on, as they happen.

no resourceVersion, or 0     the objects that are there as ADDED, then changes
…=N                          the changes after N; an ERROR event (410 Expired) where some are forgotten
sendInitialEvents            the objects as ADDED, a bookmark that marks their end, then changes (WatchList)
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.watcher import Bookmark, Item, Refusal, Shown, Watcher
from groundplane.apiserver.call import Call, Watch
from groundplane.apiserver.request import truth
from groundplane.apiserver.verbs import options
from groundplane.apiserver.verbs.list import parse_revision, too_large
from groundplane.apiserver.verbs.selection import Selection, select

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

MIN_TIMEOUT = 1800.0  # kube-apiserver --min-request-timeout: a watch without timeoutSeconds lasts 1 to 2 times this


async def watch(machine: Machine, endpoint: Endpoint, call: Call) -> Watch:
    options.check_list(call.query, watch=True)
    selection = select(endpoint, call)
    text = call.query.get("resourceVersion", "")
    asked = parse_revision(text)
    objects = endpoint.objects
    objects.cache.drain()
    collection, current = objects.collection, objects.cache.revision
    watcher = Watcher(collection, selection.prefix, selection.matches)
    seconds = options.whole_number(call, "timeoutSeconds") or MIN_TIMEOUT * (1 + random.random())
    watcher.deadline = machine.clock.monotonic() + seconds
    watcher.bookmarks = truth(call.query.get("allowWatchBookmarks"))
    streamed = call.query.get("sendInitialEvents")
    if asked > current and streamed is not None:
        raise too_large(asked, current)
    if truth(streamed):
        watcher.start([*_state(endpoint, selection), Bookmark(current, initial_end=True)], [])
    elif not asked and streamed is None:
        watcher.start(_state(endpoint, selection), [])
    else:
        since = collection.since(asked) if asked else []
        if since is None:
            error = statuses.expired(f"too old resource version: {asked} ({collection.floor})")
            watcher.add(Refusal(error.to_object()))
            watcher.close()
        else:
            watcher.after = asked
            watcher.start([], since)
    return Watch(endpoint, watcher)


def _state(endpoint: Endpoint, selection: Selection) -> list[Item]:
    items = endpoint.objects.collection.below(selection.prefix)
    return [Shown("ADDED", None, s) for s in items if selection.holds(s)]
