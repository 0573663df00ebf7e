"""What every verb has in hand: the cache over the store, the registry, admission, access, allocators, the clock.

One `Machine` is one API server. `server.start` builds it; tests build one over a memory store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from groundplane.apiserver.admission.chain import Chain
from groundplane.apiserver.allocation import Allocation
from groundplane.apiserver.cache.feed import Cache
from groundplane.apiserver.cache.stored import Object, Stored
from groundplane.apiserver.registry import Endpoint, Registry
from groundplane.base.clock import Clock
from groundplane.base.settings import Settings
from groundplane.store.contract import Store

if TYPE_CHECKING:
    from groundplane.apiserver.access.contract import Authorizer, RuleResolver, User
    from groundplane.apiserver.services.allocator import ServiceAllocator
    from groundplane.apiserver.streams.contract import NodeDialer


class TokenIssuer(Protocol):
    """Who makes service account tokens."""

    def request(self, account: Object, review: Object) -> Object:
        """A TokenRequest for a service account, with its status. Raises StatusError."""
        ...


class Reviews(Protocol):
    """The answers to reviews; each takes (question, who asks, namespace) and gives the question with its status."""

    def token(self, question: Object, user: User, namespace: str) -> Object: ...
    def self_subject(self, question: Object, user: User, namespace: str) -> Object: ...
    def self_access(self, question: Object, user: User, namespace: str) -> Object: ...
    def subject_access(self, question: Object, user: User, namespace: str) -> Object: ...
    def local_access(self, question: Object, user: User, namespace: str) -> Object: ...
    def self_rules(self, question: Object, user: User, namespace: str) -> Object: ...


class Machine:
    """One API server's parts. `objects`-like reads are in memory; only writes wait."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.cache = Cache(store)
        self.registry = Registry(self.cache, clock)
        self.admission = Chain([])
        self.authorizer: Authorizer
        self.rules: RuleResolver
        self.services: ServiceAllocator | None = None
        self.nodes: NodeDialer | None = None
        self.tokens: TokenIssuer | None = None
        self.reviews: Reviews
        self.counts: dict[tuple[str, str, int], int] = {}  # answers by (verb, resource, code), for /metrics

    def find(self, group: str, plural: str, namespace: str, name: str) -> Stored | None:
        return self.registry.of(group, plural).objects.find(namespace, name)

    def below(self, group: str, plural: str, namespace: str = "") -> list[Stored]:
        return self.registry.of(group, plural).objects.below(namespace)

    @asynccontextmanager
    async def allocations(
        self, endpoint: Endpoint, obj: Object, old: Object | None, *, dry_run: bool
    ) -> AsyncIterator[Allocation]:
        """Take what `obj` needs from limited ranges. Raises StatusError."""
        if self.services is None or (endpoint.resource.group, endpoint.resource.plural) != ("", "services"):
            yield Allocation(obj)
            return
        allocation = await self.services.allocate(obj, old, dry_run=dry_run)
        try:
            yield allocation
        finally:
            await allocation.settle()

    async def released(self, endpoint: Endpoint, obj: Object) -> None:
        """`obj` is deleted: what it held is free."""
        if self.services is not None and (endpoint.resource.group, endpoint.resource.plural) == ("", "services"):
            await self.services.release(obj)


class CachedObjects:
    """`access.contract.Objects` over the cache: resources are named `group/plural`, core ones by the bare plural."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        group, _, plural = resource.rpartition("/")
        stored = self._machine.find(group, plural, namespace, name)
        return stored.object if stored is not None else None

    def list(self, resource: str, namespace: str = "") -> Iterable[Object]:
        group, _, plural = resource.rpartition("/")
        return [s.object for s in self._machine.below(group, plural, namespace)]
