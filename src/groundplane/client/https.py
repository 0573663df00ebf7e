"""A Transport over HTTP/1.1 and TLS: what loops use when their API server is another process or another host.

Reads (GET) are tried again when the connection breaks; writes never, because nobody knows whether they were done.
A 429 or 503 that carries Retry-After is obeyed up to ten times, as client-go's rest.Request does.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from groundplane.base.clock import Clock
from groundplane.base.jsonyaml import DecodeError, dumps, loads
from groundplane.client.contract import JSON, ApiError, ConnectionLost, Object, Request, Response, WatchEvent
from groundplane.client.kubeconfig import Access
from groundplane.client.streams import ChannelStreams, Params, connect

READ_TRIES = 4
READ_PAUSE = 0.05
BUSY_TRIES = 10
CALL_SECONDS = 60.0  # upstream's request-timeout: the server gives up on its side as well
CONNECT_SECONDS = 10.0
WATCH_MARGIN = 30.0  # a watch that outlives its timeoutSeconds by this much hangs on a dead connection
TOKEN_SECONDS = 60.0  # client-go transport/token_source.go rereads a token file every minute
CHUNK = 1 << 16

_BROKEN = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


class HttpsTransport:
    """One identity's connections to one API server. Made and closed on one event loop."""

    def __init__(self, access: Access, clock: Clock, user_agent: str = "groundplane") -> None:
        self._access = access
        self._clock = clock
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._token = access.token
        self._token_read = -TOKEN_SECONDS

    async def send(self, request: Request) -> Response:
        tries = READ_TRIES if request.method == "GET" else 1
        pause = READ_PAUSE
        busy = 0
        while True:
            try:
                response, retry_after = await self._once(request)
            except ConnectionLost:
                tries -= 1
                if not tries:
                    raise
                await self._clock.sleep(pause)
                pause *= 2
                continue
            if response.status not in (429, 503) or not retry_after or busy == BUSY_TRIES:
                return response
            busy += 1
            await self._clock.sleep(retry_after)

    async def _once(self, request: Request) -> tuple[Response, float]:
        headers = {"Accept": request.accept}
        data = None
        if request.body is not None:
            data = request.body if isinstance(request.body, bytes) else dumps(request.body)
            headers["Content-Type"] = request.content_type
        try:
            async with self._open().request(
                request.method,
                self._access.server + request.path,
                params=request.query,
                data=data,
                headers=self._headers(headers),
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS),
            ) as answer:
                body = _decoded(answer, await answer.read())
                return Response(answer.status, body, _warnings(answer)), _retry_after(answer)
        except _BROKEN as error:
            raise self._lost(error) from error

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[WatchEvent, None]:
        limit = float(query["timeoutSeconds"]) + WATCH_MARGIN if "timeoutSeconds" in query else None
        rest = b""
        async with self._stream(path, {**query, "watch": "1"}, JSON, limit) as chunks:
            async for chunk in chunks:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    if line:
                        event = loads(line)
                        yield WatchEvent(event["type"], event["object"])

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        async with self._stream(path, query, "*/*", None) as chunks:
            async for chunk in chunks:
                yield chunk

    @asynccontextmanager
    async def _stream(
        self, path: str, query: Mapping[str, str], accept: str, limit: float | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            async with self._open().get(
                self._access.server + path,
                params=query,
                headers=self._headers({"Accept": accept}),
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_SECONDS),
            ) as answer:
                if answer.status != 200:
                    raise ApiError(_as_status(answer.status, _decoded(answer, await answer.read())))
                yield answer.content.iter_any()
        except _BROKEN as error:
            raise self._lost(error) from error

    async def channels(self, path: str, params: Params) -> ChannelStreams:
        """A process's streams (pods/exec), over a connection of its own. Raises ApiError, ConnectionLost."""
        return await connect(self._access.server + path, params, tls=_tls(self._access), headers=self._headers({}))

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=_tls(self._access), limit=0, keepalive_timeout=90)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True, read_bufsize=CHUNK)
        return self._session

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        headers["User-Agent"] = self._user_agent
        if self._access.token_file and self._clock.monotonic() - self._token_read >= TOKEN_SECONDS:
            self._token = _read_token(self._access.token_file)
            self._token_read = self._clock.monotonic()
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"the API server {self._access.server} did not answer: {error or type(error).__name__}")


def _tls(access: Access) -> ssl.SSLContext | bool:
    """The client's side of TLS; True (unused) for http://."""
    if not access.server.startswith("https:"):
        return True
    context = ssl.create_default_context(cadata=access.ca.decode() if access.ca else None)
    # On since Python 3.13; client-go takes an authority without key usage or key identifiers.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if access.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.client_certificate:
        # ssl only reads certificates from files; one in memory leaves no key on a disk (memfd_create(2), Linux 3.17).
        fd = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            os.write(fd, access.client_certificate + b"\n" + access.client_key)
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    return context


def _read_token(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().strip()
    except OSError as error:
        raise ConnectionLost(f"the token file {path} cannot be read: {error}") from error


def _decoded(answer: aiohttp.ClientResponse, body: bytes) -> object:
    """JSON as objects, anything else as text."""
    if answer.content_type == JSON:
        try:
            return loads(body)
        except DecodeError as error:
            raise ConnectionLost(f"{answer.url.path}: the answer is {error}") from error
    return body.decode("utf-8", "replace")


def _as_status(code: int, body: object) -> Object:
    if isinstance(body, dict) and body.get("kind") == "Status":
        return body
    return {"kind": "Status", "status": "Failure", "code": code, "message": str(body)[:500]}


def _warnings(answer: aiohttp.ClientResponse) -> tuple[str, ...]:
    """RFC 9111 §5.5 as the API server writes it: `299 - "text"`."""
    found = answer.headers.getall("Warning", [])
    return tuple(w.partition('"')[2].rpartition('"')[0].replace('\\"', '"') for w in found)


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0
