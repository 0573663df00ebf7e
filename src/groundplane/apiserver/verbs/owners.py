"""Who is noted in metadata.managedFields for a write (k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call
from groundplane.base.clock import rfc3339
from groundplane.kinds import apply

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint
    from groundplane.apiserver.verbs.write import Owner

_LENGTH = 128


def manager(call: Call) -> str:
    """`fieldManager`, or the User-Agent up to its first slash (managerOrUserAgent)."""
    if given := call.query.get("fieldManager"):
        return given
    prefix = call.agent.partition("/")[0]
    return "".join(c for c in prefix if c.isprintable())[:_LENGTH] or "unknown"


def writer(machine: Machine, endpoint: Endpoint, call: Call, subresource: str) -> apply.Writer:
    return apply.Writer(
        manager(call),
        endpoint.api_version,
        subresource,
        rfc3339(machine.clock.time()),
        reset_fields(endpoint, subresource),
    )


def reset_fields(endpoint: Endpoint, subresource: str) -> dict[str, Any]:
    """What this way of writing cannot change (GetResetFields): status on the resource, spec on its status."""
    rules = endpoint.strategy.rules
    if subresource == "status":
        return dict(rules.reset_fields_of_status)
    return {} if subresource else dict(rules.reset_fields)


def updater(machine: Machine, endpoint: Endpoint, call: Call, subresource: str = "") -> Owner:
    """Ownership of a create, update or patch."""
    who = writer(machine, endpoint, call, subresource)

    def own(live: Object | None, new: Object) -> Object:
        return apply.update(endpoint.stored_type, live, new, who)

    return own
