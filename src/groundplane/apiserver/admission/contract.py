"""The contract of an admission plug-in.

    mutate    is asked first, in the chain's order; it returns the object to go on with (the same one where nothing
              changes: objects are shared, a change is a new dict) or refuses with a StatusError
    validate  is asked after all mutation and after the kind's own validation; it returns nothing or refuses

A plug-in names the operations and resources it `handles`; the chain asks it for nothing else. It sees the cluster
through `attempt.machine` and must not write to it, except ResourceQuota, which charges in `validate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from groundplane.apiserver import statuses
from groundplane.apiserver.access.contract import User
from groundplane.apiserver.cache.stored import Object

if TYPE_CHECKING:
    from groundplane.apiserver.call import Call
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


class Operation(Enum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempted change. `obj` is None for DELETE and CONNECT, `old` None for CREATE."""

    machine: Machine
    call: Call
    operation: Operation
    endpoint: Endpoint
    subresource: str
    namespace: str
    name: str
    obj: Object | None
    old: Object | None

    @property
    def user(self) -> User:
        return self.call.user

    @property
    def group(self) -> str:
        return self.endpoint.resource.group

    @property
    def resource(self) -> str:
        return self.endpoint.resource.plural

    def refuse(self, why: str, causes: list[Object] | None = None) -> statuses.StatusError:
        """403 in upstream's words (admission.NewForbidden); a name still to be generated is shown as its base."""
        name = self.name
        if not name and self.obj is not None:
            meta = self.obj.get("metadata") or {}
            name = meta.get("name") or meta.get("generateName") or "Unknown"
        return statuses.forbidden(self.group, self.resource, name, why, causes)


class Plugin(Protocol):
    @property
    def name(self) -> str: ...

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        """Whether it wants to be asked; pure, the answer is kept."""
        ...

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        """The object to go on with. Raises StatusError."""
        ...

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        """Raises StatusError."""
        ...


class Base:
    """What most plug-ins leave as it is."""

    name = ""

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        return obj

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        return None
