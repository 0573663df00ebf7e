"""DELETE of a collection: every object of a selection, each like a DELETE of its own; the answer is the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Call, Many
from groundplane.apiserver.verbs import list as lists
from groundplane.apiserver.verbs import options
from groundplane.apiserver.verbs.delete import delete_one, read_options

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def deletecollection(machine: Machine, endpoint: Endpoint, call: Call) -> Many:
    asked = read_options(call)
    options.check_delete(asked)
    found = await lists.list_(machine, endpoint, call)
    for stored in found.items:
        meta = stored.meta
        try:
            await delete_one(machine, endpoint, call, meta.get("namespace", ""), meta["name"], asked)
        except statuses.StatusError as error:
            if error.code != 404:  # somebody else was faster
                raise
    return found
