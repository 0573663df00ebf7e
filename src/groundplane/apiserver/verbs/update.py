"""PUT of an object or of its status: replace it, if it is still the version that the client saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import lifecycle
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.verbs import body, options, owners, write

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def update(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    resource, subresource = endpoint.resource, call.target.subresource
    obj = body.read(call, resource.group, resource.version, resource.kind)
    options.check_write(call, "UpdateOptions")
    obj = lifecycle.match_namespace(obj, call.namespace if resource.namespaced else "")
    lifecycle.match_name(obj, call.name)
    obj = endpoint.default(obj)
    change = write.Change(
        call.name,
        lambda _old: obj,
        owners.updater(machine, endpoint, call, subresource),
        subresource,
        allow_create=endpoint.strategy.create_on_update and not subresource,
    )
    return await write.update(machine, endpoint, call, change)
