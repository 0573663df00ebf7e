"""The OpenAPI documents by path, built once each."""

from __future__ import annotations

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Answer, Call
from groundplane.apiserver.registry import Registry


class OpenApi:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def v2(self, call: Call) -> Answer:
        raise statuses.no_such_resource()

    def v3_index(self, call: Call) -> Answer:
        raise statuses.no_such_resource()

    def v3(self, call: Call) -> Answer:
        raise statuses.no_such_resource()
