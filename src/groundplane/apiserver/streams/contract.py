"""The node as the API server sees it: the kubelet's API, in process or over TLS, nobody can tell which.

    NodeDialer.dial(node object) ──► NodeApi ──► logs: bytes as they come
                                             ──► exec: Streams, both ways

Both calls raise client.contract.ApiError with a Status (404, 400 …) where the node refuses, and StatusError 503 or
500 where it cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from groundplane.apiserver.cache.stored import Object


class Streams(Protocol):
    """A process' standard streams, as engine.contract.Streams has them."""

    async def write(self, data: bytes) -> None:
        """Bytes for standard input."""
        ...

    async def close_stdin(self) -> None: ...

    async def read(self) -> tuple[int, bytes] | None:
        """(1 or 2, bytes) of standard output or error; None at the end of both."""
        ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def wait(self) -> int:
        """The exit code."""
        ...

    async def close(self) -> None: ...


class NodeApi(Protocol):
    """One node's streaming face."""

    def logs(self, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """A container's log; `query` is the kubelet's: follow, tailLines, sinceSeconds, sinceTime, timestamps,
        limitBytes, previous."""
        ...

    async def exec(
        self, namespace: str, pod: str, container: str, command: list[str],
        *, stdin: bool, stdout: bool, stderr: bool, tty: bool,
    ) -> Streams:  # fmt: skip
        """Start `command` in a running container."""
        ...


class NodeDialer(Protocol):
    def dial(self, node: Object) -> NodeApi:
        """The way to a node, by its Node object (name, addresses, daemonEndpoints)."""
        ...
