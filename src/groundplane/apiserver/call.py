"""One request inside the server, and the forms its answer can take; nothing here knows HTTP or the store.

http.py, local.py ──► Call ──► chain.serve ──► Answer ──► render (dict, JSON, YAML, protobuf, Table) ──► the wire
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundplane.apiserver.access.contract import Credentials, User
from groundplane.apiserver.cache.stored import Object, Stored
from groundplane.apiserver.request import Query, Target

if TYPE_CHECKING:
    from groundplane.apiserver.cache.watcher import Watcher
    from groundplane.apiserver.registry import Endpoint

JSON = "application/json"


@dataclass(slots=True)
class Call:
    """What was asked, by whom. `body` is bytes from a socket, or an object already decoded (in-process callers)."""

    method: str
    target: Target
    verb: str
    user: User
    query: Query = field(default_factory=lambda: Query([]))
    body: Any = b""
    content_type: str = JSON
    accept: str = JSON
    agent: str = ""
    warnings: list[str] = field(default_factory=list)
    credentials: Credentials | None = None
    host: str = ""
    peer: str = ""
    body_error: Exception | None = None
    upgrade: Any = None  # the edge's way to hand over the connection, where the request asks for one

    @property
    def namespace(self) -> str:
        return self.target.namespace

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    def warn(self, message: str) -> None:
        """A Warning header; the same sentence is said once (warning.AddWarning)."""
        if message not in self.warnings:
            self.warnings.append(message)


@dataclass(slots=True)
class One:
    """One object. `stored` is set where it is exactly what is kept, so that its bytes can be answered."""

    obj: Object | None
    stored: Stored | None = None
    code: int = 200
    endpoint: Endpoint | None = None  # None: not an object of a resource (Status, reviews, scale)

    @property
    def object(self) -> Object:
        if self.obj is None:
            assert self.stored is not None
            return self.endpoint.show(self.stored.object) if self.endpoint else self.stored.object
        return self.obj


@dataclass(slots=True)
class Many:
    """A list at one revision."""

    endpoint: Endpoint
    items: list[Stored]
    revision: int
    next_token: str = ""
    remaining: int = 0


@dataclass(slots=True)
class Watch:
    """A running watch; the edge reads `watcher` until it ends and closes it on every path."""

    endpoint: Endpoint
    watcher: Watcher


@dataclass(slots=True)
class Text:
    """Bytes that are no API object: health, metrics, OpenAPI, logs."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Chunks:
    """Bytes as they come, until `source` ends (a followed log)."""

    source: AsyncIterator[bytes]
    content_type: str = "text/plain"
    code: int = 200


@dataclass(slots=True)
class Upgraded:
    """The connection was handed over and is used up; there is nothing left to answer."""

    response: Any = None


Answer = One | Many | Watch | Text | Chunks | Upgraded
Handler = Callable[[Call], Awaitable[Answer]]
