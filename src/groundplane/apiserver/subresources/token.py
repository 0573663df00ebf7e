"""`serviceaccounts/token`: a token of the account, bound to an object where the request says so (TokenREST)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.admission.contract import Attempt, Operation
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.verbs import body, options

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def create(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    request = body.read(call, "authentication.k8s.io", "v1", "TokenRequest")
    options.check_write(call, "CreateOptions")
    account = endpoint.objects.get(call.namespace, call.name).object
    attempt = Attempt(machine, call, Operation.CREATE, endpoint, "token", call.namespace, call.name, request, None)
    request = await machine.admission.mutate(attempt)
    await machine.admission.validate(attempt)
    if machine.tokens is None:
        raise statuses.unavailable("this server issues no service account tokens")
    return One(machine.tokens.request(account, request), code=201)
