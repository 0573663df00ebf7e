"""NamespaceLifecycle: what can be created where, and which namespaces stay (admission/plugin/namespace/lifecycle)."""

from __future__ import annotations

from groundplane.apiserver import statuses
from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
# Reviews are questions about a namespace; nothing is put into it.
_QUESTIONS = {("authorization.k8s.io", "localsubjectaccessreviews")}


class NamespaceLifecycle(Base):
    """Nothing is created in a namespace that is not there, or is going; a few namespaces cannot go."""

    name = "NamespaceLifecycle"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        if operation is Operation.DELETE:
            return (group, resource) == ("", "namespaces")
        return operation is Operation.CREATE and (group, resource) not in _QUESTIONS

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        namespace = attempt.namespace
        if not namespace:
            return obj
        found = attempt.machine.find("", "namespaces", "", namespace)
        if found is None:
            raise statuses.not_found("", "namespaces", namespace)
        if (found.object.get("status") or {}).get("phase") == "Terminating":
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise attempt.refuse(why, [cause])
        return obj

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        if attempt.operation is Operation.DELETE and attempt.name in IMMORTAL:
            raise attempt.refuse("this namespace may not be deleted")
