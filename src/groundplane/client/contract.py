"""How every loop sees the cluster: one `Transport`, over TLS or inside the process, that nobody can tell apart.

A loop never holds a Transport itself: it gets a `client.Client` (typed verbs, errors as exceptions) made from one.

    Request  ──►  Transport.send   ──►  Response (status, decoded object)
    path     ──►  Transport.stream ──►  WatchEvents, until the server or the caller closes

In one process (`apiserver/local.py`) `send` calls the API server's handler directly: the body and the answer are the
server's own immutable dicts, not copies, so **an object that came from the client is never changed in place**; build a
new one (`client.objects.replace_in` or dict displays) instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from groundplane.base.errors import GroundError

T_co = TypeVar("T_co", covariant=True)

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON; shared, never changed in place."""

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Request:
    """One API call. `path` begins with /api, /apis or another root; `query` values are strings as on the wire."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = JSON
    accept: str = JSON


@dataclass(frozen=True, slots=True)
class Response:
    """`body` is the decoded object (a Status where the call failed), or text for logs."""

    status: int
    body: Any
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR (then `object` is a Status)."""

    type: str
    object: Object


class Stream(Protocol[T_co]):
    """What an async generator is: iterate it, and close it early with `aclose` (`contextlib.aclosing`)."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def __anext__(self) -> Awaitable[T_co]: ...

    def aclose(self) -> Awaitable[None]: ...


class Transport(Protocol):
    """One identity's way to one API server."""

    async def send(self, request: Request) -> Response:
        """One call; an HTTP error status is an answer, not an exception. Raises ConnectionLost where none came."""
        ...

    def watch(self, path: str, query: Mapping[str, str]) -> Stream[WatchEvent]:
        """A watch (`watch=1` is added). Ends when the server ends it; the caller ends it by closing the iterator.

        A refused watch (403, 410 …) raises ApiError; a lost connection raises ConnectionLost.
        """
        ...

    def lines(self, path: str, query: Mapping[str, str]) -> Stream[bytes]:
        """A streamed answer (pod logs) as chunks of bytes. Raises ApiError, ConnectionLost."""
        ...

    async def close(self) -> None:
        """Release connections; idempotent."""
        ...


class ConnectionLost(GroundError):
    """No answer: the server cannot be reached, or went away in the middle. The call may have been carried out."""

    retry = True


class ApiError(GroundError):
    """The server answered with a metav1.Status of failure."""

    def __init__(self, status: Object) -> None:
        super().__init__(str(status.get("message") or status.get("reason") or f"code {status.get('code')}"))
        self.status = status
        self.code: int = int(status.get("code") or 500)
        self.reason: str = str(status.get("reason") or "")
        self.retry = self.code in (429, 500, 503, 504)

    @property
    def is_not_found(self) -> bool:
        return self.code == 404

    @property
    def is_conflict(self) -> bool:
        return self.code == 409 and self.reason == "Conflict"

    @property
    def is_already_exists(self) -> bool:
        return self.code == 409 and self.reason == "AlreadyExists"

    @property
    def is_gone(self) -> bool:
        return self.code == 410

    @property
    def retry_after(self) -> float:
        """Seconds the server asks to wait, 0 where it does not."""
        return float((self.status.get("details") or {}).get("retryAfterSeconds") or 0)
