"""Admission that asks access control: nodes write only what is theirs, and nobody gives away rights he lacks."""

from __future__ import annotations

from groundplane.apiserver.access.contract import Objects
from groundplane.apiserver.access.escalation import Escalation
from groundplane.apiserver.access.restriction import NodeWrite, refuse
from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object

_RBAC = "rbac.authorization.k8s.io"
_RULED = frozenset({"pods", "nodes", "serviceaccounts", "leases"})


class NodeRestriction(Base):
    """A kubelet writes its own Node, its own pods and what belongs to them (plugin/pkg/admission/noderestriction)."""

    name = "NodeRestriction"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return operation is not Operation.CONNECT and resource in _RULED

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        resource = f"{attempt.group}/{attempt.resource}" if attempt.group else attempt.resource
        name = attempt.call.name or attempt.name
        write = NodeWrite(
            attempt.operation.value.lower(), resource, attempt.subresource, attempt.namespace, name, obj, attempt.old
        )
        if why := refuse(attempt.user, write, self._objects):
            raise attempt.refuse(why)


class EscalationCheck(Base):
    """Nobody gives rights he lacks; upstream asks in RBAC's storage (pkg/registry/rbac/*/policybased)."""

    name = "EscalationCheck"

    def __init__(self, escalation: Escalation) -> None:
        self._escalation = escalation

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return group == _RBAC and operation in (Operation.CREATE, Operation.UPDATE)

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        assert obj is not None
        self._escalation.check(attempt.user, attempt.resource, attempt.call.name, obj, attempt.old)
