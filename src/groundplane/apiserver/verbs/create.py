"""POST of an object into a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver.call import Call, One
from groundplane.apiserver.verbs import body, options, owners, write

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def create(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    resource = endpoint.resource
    obj = body.read(call, resource.group, resource.version, resource.kind)
    options.check_write(call, "CreateOptions")
    obj = endpoint.default(obj)
    return await write.create(machine, endpoint, call, obj, owners.updater(machine, endpoint, call))
