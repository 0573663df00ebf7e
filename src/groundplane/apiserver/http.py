"""The HTTP edge: aiohttp requests in, handler answers out, one function a form of answer.

    request ──► identity (once a connection for certificates) ──► Call ──► Desk ──► Answer ──► bytes

aiohttp because it can hand a connection over (`Upgrade:`) and shows the peer's certificate; its router is not used.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from groundplane.apiserver import render, statuses
from groundplane.apiserver.access.contract import CertificateSubject, Credentials, Identity
from groundplane.apiserver.cache.watcher import Bookmark, Watcher
from groundplane.apiserver.call import Answer, Call, Chunks, Many, One, Text, Upgraded, Watch
from groundplane.apiserver.edge import Desk, form_of, form_of_one, refused, warning_header
from groundplane.apiserver.negotiate import JSON, PROTOBUF, Form
from groundplane.apiserver.request import asked_verb, parse, parse_query
from groundplane.apiserver.streams import upgrade
from groundplane.apiserver.verbs.body import LIMIT
from groundplane.base import ids
from groundplane.base.log import Log
from groundplane.client.contract import ApiError

if TYPE_CHECKING:
    from groundplane.apiserver.access.authn import Authenticator

_log = Log("apiserver.http")
BOOKMARK_EVERY = 60.0  # seconds; kube-apiserver sends one about once a minute
# A watcher of a closed connection is noticed at its next event or after this many seconds.
_LOOK_EVERY = 10.0
_BODY_WITHIN = 60.0  # seconds for a request's body to arrive; upstream's --request-timeout
_REFUSED_WITHIN = 1.0  # seconds: what a node has not refused by then is answered with 200
_BEFORE_END = 2.0
# Events encoded and written at once: the state of a large resource neither fills memory nor holds others up.
_PIECE = 256
_BODIES = ("POST", "PUT", "PATCH", "DELETE")

PeerSubject = Callable[[web.BaseRequest], CertificateSubject | None]


class HttpEdge:
    """`web.Server`'s handler. `peer` reads a connection's verified client certificate."""

    def __init__(self, desk: Desk, authenticator: Authenticator, peer: PeerSubject) -> None:
        self._desk = desk
        self._authenticator = authenticator
        self._peer = peer
        self._watchers: set[Watcher] = set()
        self._stopping = False

    def stop(self) -> None:
        """End every watch; new ones end at once."""
        self._stopping = True
        for watcher in list(self._watchers):
            watcher.close()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        call, early = await self._call(request)
        answer = early if early is not None else await self._desk.answer(call)
        try:
            return await self._respond(request, call, answer)
        except statuses.StatusError as error:  # not acceptable, found only when the answer was to be written
            return _sent(request, call, refused(error).object, Form(), error.code)
        except (ConnectionResetError, ConnectionAbortedError):
            return web.Response(status=499)  # the client has gone; nobody reads this

    async def _call(self, request: web.BaseRequest) -> tuple[Call, Answer | None]:
        """The request as a Call; where it is refused before it is one, the refusal."""
        path, _, query_text = request.raw_path.partition("?")
        if "%" in path:
            path = unquote(path)
        headers = request.headers
        target, query = parse(request.method, path), parse_query(query_text)
        call = Call(
            request.method, target, asked_verb(target, query), _NOBODY, query, b"",
            headers.get("Content-Type", ""), headers.get("Accept", ""), headers.get("User-Agent", ""),
        )  # fmt: skip
        try:
            identity = await self._identify(request)
        except statuses.StatusError as error:
            return call, refused(error)
        call.user = identity.user
        call.host, call.peer = request.host, request.remote or ""
        if upgrade.wanted(request):
            call.upgrade = upgrade.Upgrade(request)
        elif request.method in _BODIES and request.can_read_body:
            try:
                call.body = await _body(request)
            except statuses.StatusError as error:
                call.body_error = error
        return call, None

    async def _identify(self, request: web.BaseRequest) -> Identity:
        headers = request.headers
        credentials = Credentials(self._peer(request), headers.get("Authorization", ""))
        if "Impersonate-User" in headers or any(h.lower().startswith("impersonate-") for h in headers):
            credentials = _impersonating(credentials, headers)
        return await self._authenticator.authenticate(credentials)

    async def _respond(self, request: web.BaseRequest, call: Call, answer: Answer) -> web.StreamResponse:
        now = self._desk.machine.clock.time()
        if isinstance(answer, One):
            form = _lenient_form(call) if answer.code >= 400 else form_of_one(call, answer)
            return _bytes(request, call, render.one(answer, form, call, now), form, answer.code, answer)
        if isinstance(answer, Many):
            return await _list(request, call, answer, now)
        if isinstance(answer, Watch):
            return await self._watch(request, call, answer)
        if isinstance(answer, Text):
            return _text(request, answer)
        if isinstance(answer, Upgraded):
            response: web.StreamResponse = answer.response
            return response
        return await _chunks(request, call, answer)

    async def _watch(self, request: web.BaseRequest, call: Call, answer: Watch) -> web.StreamResponse:
        watcher = answer.watcher
        self._watchers.add(watcher)
        try:
            form = form_of(call)
            if form.media not in (JSON, PROTOBUF):
                raise statuses.not_acceptable([f"{m};stream=watch" for m in (JSON, PROTOBUF)])
            media = f"{PROTOBUF};stream=watch" if form.media == PROTOBUF else JSON
            response = _stream(call, media)
            await response.prepare(request)
            await self._pump(request, call, answer, form, response)
            await response.write_eof()
        finally:
            self._watchers.discard(watcher)
            watcher.close()
        return response

    async def _pump(
        self, request: web.BaseRequest, call: Call, answer: Watch, form: Form, response: web.StreamResponse
    ) -> None:
        """Write events until the deadline, the watcher's or the server's end, or the client's."""
        watcher, machine, endpoint = answer.watcher, self._desk.machine, answer.endpoint
        start = machine.clock.monotonic()
        next_mark = _next_mark(start, watcher.deadline) if watcher.bookmarks else math.inf
        while not self._stopping:
            wait = min(watcher.deadline, next_mark) - machine.clock.monotonic()
            items = await watcher.next(max(min(wait, _LOOK_EVERY), 0))
            now = machine.clock.monotonic()
            stamp = machine.clock.time()
            for start in range(0, len(items), _PIECE):
                piece = items[start : start + _PIECE]
                await response.write(b"".join([render.frame(endpoint, i, form, call, stamp) for i in piece]))
                await asyncio.sleep(0)  # others' turn: a write that finds room does not wait
            over = watcher.closed or now >= watcher.deadline
            if not items and now >= next_mark and not over:
                machine.cache.drain()
                next_mark = _next_mark(now, watcher.deadline)
                watcher.add(Bookmark(machine.cache.revision))  # behind the events that the drain has brought
            if (over and not items) or request.transport is None or request.transport.is_closing():
                return


def _next_mark(now: float, deadline: float) -> float:
    """When to send the next bookmark: in a minute, or 2 s before the end (cacher, nextBookmarkTime)."""
    last = deadline - _BEFORE_END
    return min(now + BOOKMARK_EVERY, last) if last > now else now + BOOKMARK_EVERY


_HEADERS = {"Cache-Control": "no-cache, private"}
_NOBODY: Any = None


def _impersonating(credentials: Credentials, headers: Any) -> Credentials:
    """The Impersonate-* headers; extra keys are percent-decoded and lower-cased (authentication/user impersonation)."""
    extra: dict[str, tuple[str, ...]] = {}
    for name in headers:
        lower = name.lower()
        if lower.startswith("impersonate-extra-"):
            key = unquote(lower[len("impersonate-extra-") :])
            extra[key] = tuple(headers.getall(name))
    return Credentials(
        credentials.certificate,
        credentials.authorization,
        headers.get("Impersonate-User", ""),
        headers.get("Impersonate-Uid", ""),
        tuple(headers.getall("Impersonate-Group", ())),
        extra,
    )


async def _body(request: web.BaseRequest) -> bytes:
    """The whole body. Raises RequestEntityTooLarge."""
    length = request.content_length
    if length is not None and length > LIMIT:
        raise statuses.too_large(f"limit is {LIMIT}")
    if request.headers.get("Expect", "").lower() == "100-continue":  # RFC 9110, 10.1.1: curl waits a second for it
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it was not the answer's
    try:
        async with asyncio.timeout(_BODY_WITHIN):
            return await request.read()
    except TimeoutError:
        raise statuses.timeout("request did not complete within the allotted timeout") from None
    except web.HTTPRequestEntityTooLarge:
        raise statuses.too_large(f"limit is {LIMIT}") from None
    except (web.RequestPayloadError, asyncio.IncompleteReadError) as error:
        raise statuses.bad_request(f"the body could not be read: {error}") from error


def _stream(call: Call, media: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={**_HEADERS, "Content-Type": media})
    for warning in call.warnings:
        response.headers.add("Warning", warning_header(warning))
    return response


def _lenient_form(call: Call) -> Form:
    """The form of a refusal: what the client accepts, JSON where that cannot be told."""
    try:
        return form_of(call)
    except statuses.StatusError:
        return Form()


def _sent(request: web.BaseRequest, call: Call, obj: dict[str, Any], form: Form, code: int) -> web.Response:
    return _bytes(request, call, render.encode(obj, form), form, code, None)


def _text(request: web.BaseRequest, answer: Text) -> web.Response:
    """A page; 304 where the client has it already (discovery and OpenAPI documents carry an ETag)."""
    headers = {**_HEADERS, "Content-Type": answer.content_type, **answer.headers}
    tag = answer.headers.get("ETag")
    if tag and tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers={k: v for k, v in headers.items() if k != "Content-Type"})
    return web.Response(body=answer.body, status=answer.code, headers=headers)


def _bytes(
    request: web.BaseRequest, call: Call, body: bytes, form: Form, code: int, answer: One | None
) -> web.Response:
    response = web.Response(body=body, status=code)
    headers = response.headers
    headers["Content-Type"] = form.media
    headers["Cache-Control"] = "no-cache, private"
    headers["Audit-Id"] = ids.uuid4()
    for warning in call.warnings:
        headers.add("Warning", warning_header(warning))
    if code in (409, 429, 503, 504) and answer is not None:
        seconds = (answer.object.get("details") or {}).get("retryAfterSeconds")
        if seconds:
            headers["Retry-After"] = str(seconds)
    return response


async def _list(request: web.BaseRequest, call: Call, answer: Many, now: float) -> web.StreamResponse:
    """A list goes out piece by piece, so that it never exists twice."""
    form = form_of(call)
    pieces = render.many(answer, form, call, now)
    first = next(pieces)
    second = next(pieces, None)
    if second is None:
        return _bytes(request, call, first, form, 200, None)
    response = _stream(call, form.media)
    await response.prepare(request)
    await response.write(first)
    await response.write(second)
    for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


class _Chunks:
    """A source of chunks that can be looked at without being lost."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._waiting: asyncio.Future[bytes | None] | None = None

    async def next(self, seconds: float) -> tuple[bool, bytes | None]:
        """(whether there was an answer in time, the next chunk or None at the end). Raises what the source raises."""
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._read())
        if not (await asyncio.wait({self._waiting}, timeout=seconds))[0]:
            return False, None
        done, self._waiting = self._waiting, None
        return True, done.result()

    async def _read(self) -> bytes | None:
        return await anext(self._source, None)

    async def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        close: Callable[[], Awaitable[None]] | None = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


async def _chunks(request: web.BaseRequest, call: Call, answer: Chunks) -> web.StreamResponse:
    """A followed stream. Its beginning is awaited for a moment, so that a refusal can still be the status line."""
    chunks = _Chunks(answer.source)
    try:
        try:
            answered, chunk = await chunks.next(_REFUSED_WITHIN)
        except ApiError as error:
            return _sent(request, call, error.status, _lenient_form(call), error.code)
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": answer.content_type}, status=answer.code)
        await response.prepare(request)
        # A silent log would keep its reader for ever after the client has gone, so that is looked at now and then.
        while not answered or chunk is not None:
            if chunk:
                await response.write(chunk)
            if request.transport is None or request.transport.is_closing():
                break
            answered, chunk = await chunks.next(_LOOK_EVERY)
    except ApiError as error:
        _log.warning("a log stream broke off", path=call.target.path, error=str(error))
    finally:
        await chunks.close()
    await response.write_eof()
    return response
