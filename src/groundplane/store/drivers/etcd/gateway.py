"""etcd's JSON gateway (etcd ≥3.4: `/v3/…`): one POST a call, one of several members asked, another one where it fails.

Three things can happen to a call, and who writes must tell them apart:

    answered    the member said yes, or refused (`Refused`): nothing happened then
    not sent    no connection came about: the next member is asked, nothing happened
    lost        sent, and no answer: nobody knows (`Lost`). Calls that may be `repeat`ed are asked again elsewhere

etcd itself says `Unavailable` for what it has begun and not finished (a leader that fell, a proposal that timed out):
that is `lost` as well (etcd v3rpc/rpctypes/error.go; grpc codes in parentheses below).
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp

from groundplane.base import jsonyaml
from groundplane.base.log import Log
from groundplane.store.contract import StoreError, StoreUnavailable
from groundplane.store.drivers.etcd.url import Target

_CONNECT = 2.0  # seconds until a member that does not take the connection is given up
_PATIENCE = 3  # times `timeout`: how long a call goes on trying
_PAUSE = (0.02, 1.0)  # seconds between rounds over all members, doubled up to the second
# Calls at once. More make nothing faster, and where etcd is slow the last of them would wait for longer than `timeout`,
# be taken for lost and asked again, which makes it slower still.
_CONNECTIONS = 64
_LARGE = 2**20
_UNFINISHED = frozenset({1, 2, 4, 14})  # Canceled, Unknown, DeadlineExceeded, Unavailable
PERMISSION, _EXHAUSTED, _UNAUTHENTICATED = 7, 8, 16
SPACE = "database space exceeded"
_STALE = ("invalid auth token", "auth store is old", "user name is empty")
_log = Log("store.etcd")


class Refused(Exception):
    """etcd said no; nothing happened."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def error(self) -> StoreError:
        """The refusal as the contract's error."""
        if SPACE in str(self):
            return StoreUnavailable(
                "store: etcd refuses writes, because its database has reached its quota (alarm NOSPACE); compact and "
                "defragment it, then disarm the alarm (etcdctl alarm disarm)"
            )
        if self.code == PERMISSION:
            return StoreError(f"store: etcd denies it: {self}; give the user of the URL read and write on its prefix")
        if self.code == _EXHAUSTED:
            return StoreUnavailable(f"store: etcd refuses: {self}")
        return StoreError(f"store: etcd refuses: {self}")


class Lost(Exception):
    """Sent and not answered: it may have happened, and may still happen."""


class _NotSent(Exception):
    """No connection: it has not happened."""


class Gateway:
    """The members of one etcd. `call` and `stream` ask the present one, which changes where it fails."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._members = target.members
        self._present = 0
        self._token = ""
        self._signing_in = asyncio.Lock()
        # The seconds of a call begin when it may be sent, so calls wait here for their turn, not in the connector.
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        connector = aiohttp.TCPConnector(limit=0, ssl=_context(target))
        self._timeout = aiohttp.ClientTimeout(total=target.timeout, sock_connect=min(_CONNECT, target.timeout))
        self._forever = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.sock_connect)
        self._session = aiohttp.ClientSession(connector=connector, raise_for_status=False)

    @property
    def patience(self) -> float:
        """Seconds after which an operation gives up."""
        return self._target.timeout * _PATIENCE

    async def close(self) -> None:
        await self._session.close()

    async def call(self, path: str, body: dict[str, Any], *, repeat: bool) -> dict[str, Any]:
        """The answer. `repeat`: asking twice does no harm. Raises Refused, StoreUnavailable; Lost unless `repeat`."""
        end = asyncio.get_running_loop().time() + self.patience
        pause = _PAUSE[0]
        for attempt in range(1, 1_000_000):
            member = self._present
            try:
                return await self._ask(member, path, body)
            except (Lost, _NotSent) as error:
                self._leave(member, error)
                if isinstance(error, Lost) and not repeat:
                    raise
                why = error
            if attempt % len(self._members) == 0:
                if asyncio.get_running_loop().time() + pause > end:
                    break
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE[1])
        raise StoreUnavailable(f"store: no member of etcd answers ({', '.join(self._members)}): {why}") from why

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The messages of a streaming call on the present member. Raises Refused, Lost (its end too)."""
        member = self._present
        try:
            async with self._post(member, path, body, self._forever) as response:
                if response.status != 200:
                    raise _refusal(jsonyaml.loads(await response.read()))
                async with aclosing(_messages(response.content)) as incoming:
                    yield incoming
        except (aiohttp.ClientError, TimeoutError, OSError, Lost) as error:
            self._leave(member, error)
            raise Lost(_words(error)) from error

    def leave_present(self, why: str) -> None:
        """The present member is of no use: ask another one from now on."""
        self._leave(self._present, Lost(why))

    def _leave(self, member: int, why: Exception) -> None:
        if member == self._present and len(self._members) > 1:
            self._present = (member + 1) % len(self._members)
            gone, now = self._members[member], self._members[self._present]
            _log.warning("asking another member of etcd", left=gone, asked=now, why=str(why))

    async def _ask(self, member: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One member, once; signed in again where the token is no longer good. Raises Refused, Lost, _NotSent."""
        for again in (True, False):
            token = self._token
            if self._target.user and not token:
                token = await self._sign_in(member, token)
            try:
                return await self._send(member, path, body)
            except Refused as refused:
                stale = refused.code == _UNAUTHENTICATED or any(words in str(refused) for words in _STALE)
                if not (again and stale and self._target.user):
                    raise
                await self._sign_in(member, token)
        raise AssertionError("unreachable: the second try returns or raises")

    async def _sign_in(self, member: int, old: str) -> str:
        """A new token in place of `old`, asked for once by all who need it; etcd's end after five idle minutes."""
        async with self._signing_in:
            if self._token == old:
                self._token = ""
                words = {"name": self._target.user, "password": _password(self._target.passwordfile)}
                self._token = (await self._send(member, "/v3/auth/authenticate", words))["token"]
            return self._token

    async def _send(self, member: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self._turns, self._post(member, path, body, self._timeout) as response:
                url = self._members[member]
                if response.status == 404 and "json" not in response.content_type:
                    raise StoreError(f"store: {url} has no {path}: etcd 3.4 or newer, its gateway on, expected")
                answer: dict[str, Any] = jsonyaml.loads(await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _NotSent(_words(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError, jsonyaml.DecodeError) as error:
            raise Lost(_words(error)) from error
        if response.status == 200 and "error" not in answer:
            return answer
        raise _refusal(answer)

    def _post(self, member: int, path: str, body: dict[str, Any], timeout: aiohttp.ClientTimeout) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        if timeout is self._forever:
            # A member that loses its leader ends the stream instead of being silent (etcd v3rpc/interceptor.go).
            headers["Grpc-Metadata-Hasleader"] = "true"
        url, data = self._members[member] + path, jsonyaml.dumps(body)
        whole = BytesIO(data) if len(data) > _LARGE else data  # aiohttp sends bytes in one go, and warns of many
        return self._session.post(url, data=whole, headers=headers, timeout=timeout)


def _refusal(answer: dict[str, Any]) -> Refused | Lost:
    error = answer.get("error") if isinstance(answer.get("error"), dict) else answer
    assert isinstance(error, dict)
    code = int(error.get("code") or error.get("grpc_code") or 2)
    message = str(error.get("message") or answer)
    return Lost(message) if code in _UNFINISHED else Refused(code, message)


async def _messages(content: aiohttp.StreamReader) -> AsyncGenerator[dict[str, Any], None]:
    """One JSON document a line; a line can be megabytes."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            parts.append(end)
            line = b"".join(parts)
            parts = []
            if line.strip():
                message: dict[str, Any] = jsonyaml.loads(line)
                if "error" in message:
                    raise _refusal(message)
                yield message["result"]
        if rest:
            parts.append(rest)
    raise Lost("the member ended the stream")


def _password(path: str) -> str:
    """Read at each sign-in, because it may be changed while the server runs."""
    try:
        with open(path) as file:
            return file.read().rstrip("\n")
    except OSError as error:
        raise StoreError(f"store: cannot read the password file {path} of etcd's user: {error.strerror}") from error


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    cause = error.os_error  # its own words, and asyncio's in it, repeat the address and say little else
    if cause.errno is not None and cause.errno in errno.errorcode:
        return os.strerror(cause.errno)
    words = cause.strerror or str(cause) or "the connection ended"
    return f"TLS: {words}" if isinstance(cause, ssl.SSLError) else words


def _context(target: Target) -> ssl.SSLContext | bool:
    if not target.cafile:
        return True
    try:
        context = ssl.create_default_context(cafile=target.cafile)
        # On since Python 3.13; upstream's client (Go) takes an authority without key usage or key identifiers.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if target.certfile:
            context.load_cert_chain(target.certfile, target.keyfile)
    except (OSError, ssl.SSLError) as error:
        named = " ".join(filter(None, (target.cafile, target.certfile, target.keyfile)))
        raise StoreError(f"store: cannot use the TLS files of etcd ({named}): {error.strerror or error}") from error
    return context
