"""Paths that are no resources: health, version, metrics, discovery, OpenAPI, the service account issuer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Answer, Call, One, Text

if TYPE_CHECKING:
    from groundplane.apiserver.discovery.pages import Discovery
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.openapi.pages import OpenApi

Page = Callable[[Call], Awaitable[Answer] | Answer]

VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0+groundplane",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


class NoSuchPage(Exception):
    """Nothing is served at this path: 404 in plain text, as Go's ServeMux answers."""


class Pages:
    """The pages by path; `add` is for those that other rooms own (the issuer's documents)."""

    def __init__(self, machine: Machine, discovery: Discovery, openapi: OpenApi) -> None:
        self._machine = machine
        self._exact: dict[str, Page] = {
            "/version": lambda call: One(dict(VERSION)),
            "/healthz": self._health,
            "/livez": self._health,
            "/readyz": self._health,
            "/metrics": self._metrics,
            "/": self._index,
            "/api": discovery.api,
            "/apis": discovery.apis,
            "/openapi/v2": openapi.v2,
            "/openapi/v3": openapi.v3_index,
        }
        self._below: list[tuple[str, Page]] = [
            ("/healthz/", self._check),
            ("/livez/", self._check),
            ("/readyz/", self._check),
            ("/api/", discovery.group_version),
            ("/apis/", discovery.group_version),
            ("/openapi/v3/", openapi.v3),
        ]

    def add(self, path: str, page: Page) -> None:
        self._exact[path] = page

    async def serve(self, call: Call) -> Answer:
        """Raises NoSuchPage, StatusError."""
        path = call.target.path
        page = self._exact.get(path) or self._exact.get(path.rstrip("/") or "/")
        if page is None:
            page = next((p for prefix, p in self._below if path.startswith(prefix)), None)
        if page is None:
            raise NoSuchPage
        if call.method not in ("GET", "HEAD"):
            raise statuses.method_not_allowed()
        answer: Any = page(call)
        if isinstance(answer, Awaitable):
            answer = await answer
        result: Answer = answer
        return result

    def _health(self, call: Call) -> Text:
        if "verbose" not in call.query:
            return Text(b"ok")
        kind = call.target.path.strip("/")
        lines = [f"[+]{name} ok\n" for name in ("ping", "log", "store", "poststarthook/bootstrap")]
        return Text(("".join(lines) + f"{kind} check passed\n").encode())

    def _check(self, call: Call) -> Text:
        if call.target.path.rpartition("/")[2] not in ("ping", "log", "store", "etcd"):
            raise NoSuchPage
        return Text(b"ok")

    def _index(self, call: Call) -> One:
        return One({"paths": sorted(p for p in self._exact if p != "/")})

    def _metrics(self, call: Call) -> Text:
        lines = ["# TYPE apiserver_request_total counter\n"]
        for (verb, resource, code), count in sorted(self._machine.counts.items()):
            lines.append(f'apiserver_request_total{{verb="{verb}",resource="{resource}",code="{code}"}} {count}\n')
        lines.append("# TYPE apiserver_storage_objects gauge\n")
        for endpoint in self._machine.registry:
            if not endpoint.converted and endpoint.is_kept:
                name = endpoint.resource.qualified
                lines.append(f'apiserver_storage_objects{{resource="{name}"}} {len(endpoint.objects.collection)}\n')
        return Text("".join(lines).encode(), "text/plain; version=0.0.4; charset=utf-8")
