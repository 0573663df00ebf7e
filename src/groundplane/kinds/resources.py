"""Every built-in resource and subresource: what it is called, which verbs it has, and where the store keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from groundplane.kinds import pack

# k8s.io/kubernetes pkg/kubeapiserver/default_storage_factory_builder.go: the prefixes that are not the resource's name.
_PREFIXES = {
    ("", "replicationcontrollers"): "controllers",
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "services"): "services/specs",
    ("networking.k8s.io", "ingresses"): "ingress",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
}
# Two groups or versions over the same stored objects; the store holds the right-hand one.
_STORED_AS = {
    ("events.k8s.io", "v1", "events"): ("", "v1", "events"),
    ("autoscaling", "v1", "horizontalpodautoscalers"): ("autoscaling", "v2", "horizontalpodautoscalers"),
}


@dataclass(frozen=True, slots=True)
class Subresource:
    """`pods/binding`: its name, the kind it reads and writes, and its verbs."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One built-in resource. `stored_as` is the (group, version, plural) whose form the store keeps."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: dict[str, Subresource] = field(default_factory=dict, hash=False, compare=False)
    stored_as: tuple[str, str, str] = ("", "", "")

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, `deployments.apps`: as messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """The store's prefix, with a slash at its end: `/registry/pods/`."""
        group, _, plural = self.stored_as
        return f"/registry/{_PREFIXES.get((group, plural), plural)}/"

    def key(self, namespace: str, name: str) -> str:
        """The store's key of one object; `namespace` is ignored where the resource has none."""
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"


@cache
def resources() -> tuple[Resource, ...]:
    """All built-in resources that have an endpoint of their own, in discovery's order."""
    found: dict[tuple[str, str, str], Resource] = {}
    for row in pack.rows("resources"):
        group, version, plural, sub, kind_group, kind_version, kind, *rest = row
        namespaced, singular, short, categories, verbs = rest
        key = (group, version, plural)
        if sub:
            # discovery leaves the kind's group and version empty where they are the resource's own
            whose = (kind_group or group, kind_version or version) if kind_version else (group, version)
            found[key].subresources[sub] = Subresource(sub, *whose, kind, tuple(verbs))
            continue
        found[key] = Resource(
            group, version, plural, kind, bool(namespaced), singular, tuple(short), tuple(categories), tuple(verbs),
            {}, _STORED_AS.get(key, key),
        )  # fmt: skip
    return tuple(found.values())


@cache
def _by_name() -> dict[tuple[str, str, str], Resource]:
    return {(r.group, r.version, r.plural): r for r in resources()}


@cache
def _by_kind() -> dict[tuple[str, str, str], Resource]:
    return {(r.group, r.version, r.kind): r for r in resources()}


def find(group: str, version: str, plural: str) -> Resource | None:
    """The resource behind `/apis/{group}/{version}/{plural}`."""
    return _by_name().get((group, version, plural))


def by_kind(group: str, version: str, kind: str) -> Resource | None:
    """The resource whose objects are of this kind."""
    return _by_kind().get((group, version, kind))


def groups() -> Iterable[tuple[str, tuple[str, ...]]]:
    """Each group with its versions, preferred version first."""
    found: dict[str, dict[str, None]] = {}
    for resource in resources():
        found.setdefault(resource.group, {})[resource.version] = None
    return ((group, tuple(versions)) for group, versions in found.items())
