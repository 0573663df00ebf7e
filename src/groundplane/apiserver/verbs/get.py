"""GET of one object: the bytes that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver.call import Call, One
from groundplane.apiserver.verbs.list import parse_revision, too_large

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def get(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    stored = endpoint.objects.get(call.namespace, call.name)
    if text := call.query.get("resourceVersion"):
        asked = parse_revision(text)
        if asked > endpoint.objects.cache.revision:
            raise too_large(asked, endpoint.objects.cache.revision)
    return One(None, stored, endpoint=endpoint)
