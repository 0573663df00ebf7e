"""The in-process transport: a loop's calls reach the handler as they are, dicts both ways, with a fixed identity.

Only authentication is replaced; authorization, admission, validation and the store are the same as behind TLS.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from groundplane.apiserver import render
from groundplane.apiserver.access.contract import User
from groundplane.apiserver.cache.watcher import Bookmark, Item
from groundplane.apiserver.call import Answer, Call, Chunks, Many, One, Text, Watch
from groundplane.apiserver.edge import Desk, form_of, form_of_one, refused
from groundplane.apiserver.negotiate import Form
from groundplane.apiserver.request import Query, asked_verb, parse
from groundplane.apiserver.statuses import StatusError, unavailable
from groundplane.base import jsonyaml
from groundplane.client.contract import ApiError, ConnectionLost, Request, Response, WatchEvent

BOOKMARK_EVERY = 60.0  # seconds; kube-apiserver sends one about once a minute


class LocalTransport:
    """`client.contract.Transport` over a Desk in this process, as one user."""

    def __init__(self, desk: Desk, user: User, agent: str = "groundplane") -> None:
        self._desk = desk
        self._user = user
        self._agent = agent
        self._closed = False

    async def send(self, request: Request) -> Response:
        call = self._call(request)
        answer = await self._desk.answer(call)
        try:
            status, body = self._decoded(answer, call)
        except StatusError as error:
            status, body = error.code, error.to_object()
        return Response(status, body, tuple(call.warnings))

    def _call(self, request: Request) -> Call:
        if self._closed:
            raise ConnectionLost("the API server in this process has stopped")
        query = Query([(k, str(v)) for k, v in request.query.items()])
        target = parse(request.method, request.path)
        # Decoding takes lists and maps over from its input, and the caller may go on using what it sent. (Through
        # JSON and back is an eighth of copy.deepcopy's time.)
        body = request.body
        if isinstance(body, dict | list):
            body = jsonyaml.loads(jsonyaml.dumps(body))
        if body is None:
            body = b""
        elif isinstance(body, str):
            body = body.encode()
        return Call(
            request.method, target, asked_verb(target, query), self._user, query, body,
            request.content_type, request.accept, self._agent,
        )  # fmt: skip

    def _decoded(self, answer: Answer, call: Call) -> tuple[int, Any]:
        now = self._desk.machine.clock.time()
        if isinstance(answer, One):
            return answer.code, render.shown_one(answer, form_of_one(call, answer), call, now)
        if isinstance(answer, Many):
            return 200, render.shown_many(answer, form_of(call), call, now)
        if isinstance(answer, Text):
            return answer.code, answer.body.decode(errors="replace")
        if isinstance(answer, Watch):
            answer.watcher.close()
        raise unavailable("this answer is a stream: use watch or lines")

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[WatchEvent, None]:
        call = self._call(Request("GET", path, {**query, "watch": "true"}))
        answer = await self._desk.answer(call)
        if not isinstance(answer, Watch):
            raise _api_error(answer)
        watcher, clock, form = answer.watcher, self._desk.machine.clock, Form()
        try:
            while True:
                left = watcher.deadline - clock.monotonic()
                items: list[Item] = await watcher.next(min(left, BOOKMARK_EVERY))
                over = not items and left <= BOOKMARK_EVERY
                if not items and watcher.bookmarks and not watcher.closed:
                    self._desk.machine.cache.drain()
                    watcher.add(Bookmark(self._desk.machine.cache.revision))  # behind what the drain has brought
                    items = await watcher.next(0)
                for item in items:
                    yield WatchEvent(*render.event_object(answer.endpoint, item, form, call, 0.0))
                if over or watcher.closed:
                    return
        finally:
            watcher.close()

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        answer = await self._desk.answer(self._call(Request("GET", path, query)))
        if isinstance(answer, Text):
            if answer.body:
                yield answer.body
            return
        if not isinstance(answer, Chunks):
            raise _api_error(answer)
        async for chunk in answer.source:
            yield chunk

    async def close(self) -> None:
        self._closed = True


def _api_error(answer: Answer) -> ApiError:
    if isinstance(answer, One):
        return ApiError(answer.object)
    return ApiError(refused(unavailable("the answer is no stream")).object)
