"""`pods/proxy`, `services/proxy`, `nodes/proxy`: refused in one sentence until requests are carried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Answer, Call

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def refuse(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    raise statuses.plain(f"{endpoint.resource.plural}/proxy is not offered by this server yet")
