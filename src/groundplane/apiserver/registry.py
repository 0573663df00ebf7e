"""Which resources are served: one `Endpoint` for each, over the store's objects of its kind.

Two endpoints may show the same stored objects in different versions (events in two groups, autoscaling v1 and v2);
`show` and `take` convert at the border, everything between them is in the stored version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.cache.feed import Cache
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.statuses import Cause, StatusError
from groundplane.apiserver.storage.objects import Objects
from groundplane.apiserver.storage.shortlived import ShortLived
from groundplane.apiserver.subresources import views
from groundplane.base.clock import Clock
from groundplane.kinds import conversion, defaults, resources, schema, strategies
from groundplane.kinds.resources import Resource
from groundplane.kinds.schema import Type

# Kinds that are asked and answered, never kept.
VIRTUAL = {
    ("", "bindings"),
    ("", "componentstatuses"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
}
# DefaultGarbageCollectionPolicy: deleting these without a policy orphans their pods, as their first versions did.
_ORPHANING = {("batch", "jobs"), ("", "replicationcontrollers")}
_EVERY_FIELD = ("metadata.name", "metadata.namespace")


class Strategy:
    """A kind's rules, its subresources' among them: `kinds.strategies` behind one set of words."""

    def __init__(self, resource: Resource) -> None:
        self.rules = strategies.of(resource)
        self.unconditional_update = self.rules.unconditional_update
        self.create_on_update = self.rules.create_on_update
        self.orphans_by_default = (resource.group, resource.plural) in _ORPHANING

    def prepare_create(self, obj: Object, now: str) -> None:
        """In place: `obj` was decoded for this request."""
        self.rules.prepare_create(obj, now)

    def validate_create(self, obj: Object) -> Sequence[Cause]:
        return self.rules.validate_create(obj)

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> Object:
        """What becomes of `new`, which was decoded for this request and is used up; `old` is not changed."""
        if subresource == "status":
            self.rules.prepare_status(new, old, now)
        elif subresource:
            return views.prepare(subresource, new, old)
        else:
            self.rules.prepare_update(new, old, now)
        return new

    def validate_update(self, new: Object, old: Object, subresource: str) -> Sequence[Cause]:
        if subresource == "status":
            return self.rules.validate_status(new, old)
        if subresource:
            return views.validate(subresource, new, old)
        return self.rules.validate_update(new, old)

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        return self.rules.warnings(obj, old)

    def selectable(self, obj: Object) -> dict[str, str]:
        return self.rules.selectable(obj)

    def unknown_field(self, path: str) -> str | None:
        """Upstream's sentence for a field that cannot be selected by; None for one that can."""
        known = self.rules.selectable_fields()
        if path in known:
            return None
        if len(known) > len(_EVERY_FIELD):
            return f"field label not supported: {path}"
        return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'


class Endpoint:
    """One served resource in one version."""

    def __init__(self, resource: Resource, stored: Resource, objects: Objects, strategy: Strategy) -> None:
        self.resource = resource
        self.stored = stored
        self.objects = objects
        self.strategy = strategy
        self.converted = resource is not stored
        self.api_version = resource.api_version
        self.is_kept = (resource.group, resource.plural) not in VIRTUAL

    @cached_property
    def type(self) -> Type:
        found = schema.type_of(self.resource.group, self.resource.version, self.resource.kind)
        assert found is not None, f"{self.resource.kind} has no type"
        return found

    @cached_property
    def stored_type(self) -> Type:
        found = schema.type_of(self.stored.group, self.stored.version, self.stored.kind)
        assert found is not None, f"{self.stored.kind} has no type"
        return found

    def show(self, obj: Object) -> Object:
        """A stored object in this endpoint's version."""
        return conversion.convert(obj, self.stored, self.resource) if self.converted else obj

    def take(self, obj: Object) -> Object:
        """An object of this endpoint's version as it is stored."""
        return conversion.convert(obj, self.resource, self.stored) if self.converted else obj

    def default(self, obj: Object) -> Object:
        """A freshly decoded object with upstream's defaults; `obj` is used up."""
        return defaults.apply(self.resource, obj)

    def selectable(self, obj: Object) -> dict[str, str]:
        return self.strategy.selectable(obj)

    def unknown_field(self, path: str) -> str | None:
        """Upstream's sentence for a field that cannot be selected by; None for one that can."""
        return self.strategy.unknown_field(path)

    def invalid(self, obj: Object, causes: Sequence[Cause]) -> StatusError:
        name = obj["metadata"].get("name", "")
        return statuses.invalid(self.resource.group, self.resource.kind, name, causes)

    def conflict(self, name: str, why: str = statuses.MODIFIED) -> StatusError:
        return statuses.conflict(self.resource.group, self.resource.plural, name, why)

    def not_found(self, name: str) -> StatusError:
        return statuses.not_found(self.resource.group, self.resource.plural, name)

    def leaves(self, new: Object, old: Object) -> bool:
        """Whether this update deletes the object because nothing holds it any more."""
        if (self.resource.group, self.resource.plural) == ("", "namespaces") and (new.get("spec") or {}).get(
            "finalizers"
        ):
            return False
        return lifecycle.is_leaving(new, old)


class Registry:
    """All endpoints by (group, version, plural). Built-in ones are there from the start."""

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self._events = ShortLived(cache.store, clock)
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._stored: dict[tuple[str, str], Endpoint] = {}
        for resource in resources.resources():
            self._add_builtin(cache, resource)

    def _add_builtin(self, cache: Cache, resource: Resource) -> None:
        stored = resources.find(*resource.stored_as) or resource
        objects = Objects(
            cache,
            stored.prefix,
            resource.group,
            resource.plural,
            namespaced=resource.namespaced,
            short_lived=self._events if resource.plural == "events" else None,
        )
        # The rules judge the stored form; those of events.k8s.io are others than core's.
        endpoint = Endpoint(resource, stored, objects, Strategy(stored if stored.group == resource.group else resource))
        self._endpoints[resource.group, resource.version, resource.plural] = endpoint
        if stored is resource:
            self._stored[resource.group, resource.plural] = endpoint
            if endpoint.is_kept:
                cache.register(stored.prefix, stored.kind, stored.api_version)

    def find(self, group: str, version: str, plural: str) -> Endpoint | None:
        return self._endpoints.get((group, version, plural))

    def of(self, group: str, plural: str) -> Endpoint:
        """The endpoint in the stored version. Raises KeyError."""
        return self._stored[group, plural]

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints.values())

    def has_group(self, group: str, version: str = "") -> bool:
        return any(g == group and version in ("", v) for g, v, _ in self._endpoints)
