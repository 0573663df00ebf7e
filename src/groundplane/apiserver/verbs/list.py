"""GET of a collection: one moment of a resource, in pages where the client asks for them.

Which moment (docs: "Resource versions" of the Kubernetes API concepts):

    no resourceVersion        the newest                    a page's token carries its revision
    resourceVersion=0         whatever is at hand           `limit` is not honoured, as upstream's watch cache does
    …=N, NotOlderThan         at least N: the newest here
    …=N, Exact (or limit)     exactly N, from the store's history; 410 where that is compacted
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Stored
from groundplane.apiserver.call import Call, Many
from groundplane.apiserver.verbs import continuation, options
from groundplane.apiserver.verbs.continuation import ANY_REVISION, Token
from groundplane.apiserver.verbs.selection import Selection, select
from groundplane.store.contract import Compacted, FutureRevision

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

_TOO_OLD = "The resourceVersion for the provided list is too old."
_TOO_OLD_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def parse_revision(text: str) -> int:
    """A resourceVersion parameter; empty is 0. Raises BadRequest."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise statuses.bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": '
            f'strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def too_large(asked: int, current: int) -> statuses.StatusError:
    """A revision that has not happened (storage.NewTooLargeResourceVersionError): the client tries again."""
    message = f"Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return statuses.timeout(message, 1, [cause])


async def list_(machine: Machine, endpoint: Endpoint, call: Call) -> Many:
    options.check_list(call.query, watch=False)
    selection = select(endpoint, call)
    limit = max(options.whole_number(call, "limit") or 0, 0)
    text, token = call.query.get("resourceVersion", ""), call.query.get("continue", "")
    if token:
        if text and text != "0":
            raise statuses.bad_request("specifying resource version is not allowed when using continue")
        return await _continue(endpoint, selection, continuation.decode(token), limit)
    asked = parse_revision(text)
    endpoint.objects.cache.drain()
    current = endpoint.objects.cache.revision
    if asked > current:
        raise too_large(asked, current)
    exact = call.query.get("resourceVersionMatch") == "Exact" or (
        limit > 0 and asked > 0 and not call.query.get("resourceVersionMatch")
    )
    if exact:
        return await _page(endpoint, selection, Token("", asked), limit, _TOO_OLD)
    if text == "0":
        limit = 0
    items = endpoint.objects.collection.below(selection.prefix)
    return _cut(endpoint, selection, items, current, limit)


async def _continue(endpoint: Endpoint, selection: Selection, token: Token, limit: int) -> Many:
    endpoint.objects.cache.drain()
    if token.revision == ANY_REVISION:
        items = [s for s in endpoint.objects.collection.below(selection.prefix) if s.key >= _start(endpoint, token)]
        return _cut(endpoint, selection, items, endpoint.objects.cache.revision, limit)
    return await _page(endpoint, selection, token, limit, _TOO_OLD_TOKEN)


async def _page(endpoint: Endpoint, selection: Selection, token: Token, limit: int, too_old: str) -> Many:
    """The list as of `token.revision`: from memory where nothing has changed since, else from the store's history."""
    objects, start = endpoint.objects, _start(endpoint, token)
    if token.revision < objects.cache.horizon:
        raise _expired(token, too_old)
    collection = objects.collection
    if collection.newest <= token.revision:
        items = [s for s in collection.below(selection.prefix) if s.key >= start]
        return _cut(endpoint, selection, items, token.revision, limit)
    try:
        page = await objects.cache.store.list(
            selection.prefix, start=max(start, selection.prefix) if token.start else "", revision=token.revision
        )
    except Compacted:
        raise _expired(token, too_old) from None
    except FutureRevision as future:
        raise too_large(token.revision, future.current) from None
    items = [collection.shape.stored(e.key, e.value, e.revision) for e in page.entries]
    return _cut(endpoint, selection, items, token.revision, limit)


def _expired(token: Token, why: str) -> statuses.StatusError:
    """410, and for who pages a token that goes on behind the last key as things are now."""
    error = statuses.expired(why)
    if token.start:
        error.list_meta = {"continue": continuation.encode(Token(token.start, ANY_REVISION))}
    return error


def _start(endpoint: Endpoint, token: Token) -> str:
    return endpoint.objects.prefix + token.start if token.start else ""


def _cut(endpoint: Endpoint, selection: Selection, items: list[Stored], revision: int, limit: int) -> Many:
    """The first `limit` matching items, and the token for the rest."""
    if selection.matches is None:
        if not limit or len(items) <= limit:
            return Many(endpoint, items, revision)
        shown = items[:limit]
        return Many(endpoint, shown, revision, _token(endpoint, shown[-1], revision), len(items) - limit)
    found: list[Stored] = []
    for index, item in enumerate(items):
        if not selection.holds(item):
            continue
        found.append(item)
        if limit and len(found) == limit and index + 1 < len(items):
            # How many of the rest match is not counted, so `remainingItemCount` stays unset, as upstream.
            return Many(endpoint, found, revision, _token(endpoint, item, revision))
    return Many(endpoint, found, revision)


def _token(endpoint: Endpoint, last: Stored, revision: int) -> str:
    return continuation.encode(Token(last.key[len(endpoint.objects.prefix) :] + "\0", revision))
