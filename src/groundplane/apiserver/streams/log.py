"""`pods/log`: a container's log, once or followed, from the pod's node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Answer, Call, Chunks, Text
from groundplane.apiserver.streams.target import locate
from groundplane.apiserver.verbs import options

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

_FORWARDED = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream")


async def get(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    _check(call)
    _pod, container, node = locate(machine, endpoint, call)
    if node is None:
        # Nothing has run anywhere, so there is nothing to read; upstream answers an empty body as well.
        return Text(b"", "text/plain")
    wanted = {k: call.query[k] for k in _FORWARDED if k in call.query}
    return Chunks(node.logs(call.namespace, call.name, container, wanted))


def _check(call: Call) -> None:
    """v1.PodLogOptions (pkg/apis/core/validation, ValidatePodLogOptions). Raises Invalid."""
    causes = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        value = options.whole_number(call, name)
        if value is not None and value < least:
            why = f"must be greater than {'or equal to ' if not least else ''}0"
            causes.append(statuses.FieldCause("FieldValueInvalid", name, f"Invalid value: {value}: {why}"))
    if call.query.get("sinceSeconds") and call.query.get("sinceTime"):
        why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(statuses.FieldCause("FieldValueForbidden", "", why))
    if causes:
        raise statuses.invalid("", "PodLogOptions", call.name, causes)
