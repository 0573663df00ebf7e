"""What upstream's registries do to an object between decoding and validation, resource by resource.

    strategy = of(resource)
    strategy.prepare_create(obj, now)        # status reset, generation 1, what only the server may set
    strategy.prepare_update(new, old, now)   # status kept, generation bumped where the spec changed
    strategy.prepare_status(new, old, now)   # spec kept
    strategy.validate_create(obj), .validate_update(new, old), .validate_status(new, old)

The `prepare` calls own their first argument (decoded for this request) and change it in place; they may put parts of
`old` into it, and never change `old`. Before `prepare_create` the caller has set uid, name and creationTimestamp.
`now` is an RFC 3339 stamp. (pkg/registry/*/*/strategy.go)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from groundplane.kinds import decode, preparation, schema, selectable, validation
from groundplane.kinds.resources import Resource
from groundplane.kinds.validation.errors import Errors

Object = dict[str, Any]
Key = tuple[str, str]

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"

# Kinds that count generations: which top-level fields, when changed, begin a new one.
_GENERATIONS: dict[Key, tuple[str, ...]] = {
    **{
        (group, plural): ("spec",)
        for group, plurals in {
            "": ("pods", "replicationcontrollers"),
            "apps": ("deployments", "replicasets", "daemonsets", "statefulsets"),
            "batch": ("jobs", "cronjobs"),
            "networking.k8s.io": ("ingresses", "networkpolicies", "ingressclasses"),
            "policy": ("poddisruptionbudgets",),
            "resource.k8s.io": ("resourceslices", "deviceclasses"),
            "apiextensions.k8s.io": ("customresourcedefinitions",),
            _FLOW: ("flowschemas", "prioritylevelconfigurations"),
            _ADMISSION: (
                "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
            ),
        }.items()
        for plural in plurals
    },
    ("discovery.k8s.io", "endpointslices"): ("addressType", "endpoints", "ports"),
    ("scheduling.k8s.io", "priorityclasses"): (),
    (_ADMISSION, "validatingwebhookconfigurations"): ("webhooks",),
    (_ADMISSION, "mutatingwebhookconfigurations"): ("webhooks",),
}  # fmt: skip

# A PUT to a name that does not exist creates it.
_CREATE_ON_UPDATE = frozenset(
    {
        ("", "endpoints"), ("", "events"), ("events.k8s.io", "events"), ("", "limitranges"), ("", "services"),
        ("coordination.k8s.io", "leases"), (_RBAC, "roles"), (_RBAC, "clusterroles"), (_RBAC, "rolebindings"),
        (_RBAC, "clusterrolebindings"),
    }
)  # fmt: skip

# A PUT must carry the resourceVersion it means.
_CONDITIONAL_ONLY = frozenset(
    {
        ("coordination.k8s.io", "leases"), ("policy", "poddisruptionbudgets"), ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"), ("storage.k8s.io", "volumeattachments"), ("node.k8s.io", "runtimeclasses"),
        ("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices"),
        (_ADMISSION, "validatingwebhookconfigurations"), (_ADMISSION, "mutatingwebhookconfigurations"),
        (_ADMISSION, "validatingadmissionpolicies"), (_ADMISSION, "validatingadmissionpolicybindings"),
        (_ADMISSION, "mutatingadmissionpolicies"), (_ADMISSION, "mutatingadmissionpolicybindings"),
    }
)  # fmt: skip

# Kinds whose main endpoint keeps a status that came with a create (nodes register themselves with theirs).
_STATUS_ON_CREATE = frozenset({("", "nodes")})
# Review kinds answer in their status; it is the request's own, not a stored one.
_TRANSIENT = frozenset({"authentication.k8s.io", "authorization.k8s.io"})


def _nothing(obj: Object, now: str) -> None:
    """Most kinds need nothing more than the common steps."""


def _nothing_changed(new: Object, old: Object, now: str) -> None:
    """Most kinds need nothing more than the common steps."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """How one resource is created and updated. `has_status`: the main endpoint cannot write `status`."""

    resource: Resource
    has_status: bool
    generation_of: tuple[str, ...] | None
    create_on_update: bool
    unconditional_update: bool
    _on_create: Callable[[Object, str], None] = field(default=_nothing, repr=False)
    _on_update: Callable[[Object, Object, str], None] = field(default=_nothing_changed, repr=False)
    _on_status: Callable[[Object, Object, str], None] = field(default=_nothing_changed, repr=False)

    @property
    def key(self) -> Key:
        return (self.resource.group, self.resource.plural)

    @property
    def reset_fields(self) -> Mapping[str, Any]:
        """The field set that a write through the main endpoint never owns, for server-side apply."""
        return {"f:status": {}} if self.has_status else {}

    @property
    def reset_fields_of_status(self) -> Mapping[str, Any]:
        """The same for the status endpoint."""
        found = schema.type_of(self.resource.group, self.resource.version, self.resource.kind)
        names = found.fields if found is not None else {}
        kept: Object = {f"f:{name}": {} for name in names if name not in ("apiVersion", "kind", "metadata", "status")}
        return {**kept, **preparation.STATUS_RESETS.get(self.key, {})}

    def prepare_create(self, obj: Object, now: str) -> None:
        if self.has_status and self.key not in _STATUS_ON_CREATE:
            obj["status"] = _zero_status(self.resource.group, self.resource.version, self.resource.kind)
        meta = obj["metadata"]
        if self.generation_of is not None:
            meta["generation"] = 1
        else:
            meta.pop("generation", None)
        self._on_create(obj, now)

    def prepare_update(self, new: Object, old: Object, now: str) -> None:
        preparation.carry_over(new["metadata"], old["metadata"])
        if self.has_status:
            preparation.keep(new, old, "status")
        self._on_update(new, old, now)
        if self.generation_of and any(new.get(name) != old.get(name) for name in self.generation_of):
            preparation.next_generation(new, old)

    def prepare_status(self, new: Object, old: Object, now: str) -> None:
        preparation.carry_over(new["metadata"], old["metadata"])
        for name in {**new, **old}:
            if name not in ("apiVersion", "kind", "metadata", "status"):
                preparation.keep(new, old, name)
        for name in preparation.STATUS_KEEPS.get(self.key, ()):
            preparation.keep(new["metadata"], old["metadata"], name)
        self._on_status(new, old, now)

    def validate_create(self, obj: Object) -> Errors:
        return validation.validate_create(self.resource, obj)

    def validate_update(self, new: Object, old: Object) -> Errors:
        return validation.validate_update(self.resource, new, old)

    def validate_status(self, new: Object, old: Object) -> Errors:
        return validation.validate_status(self.resource, new, old)

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        """What the answer's Warning headers say; validation has passed."""
        return validation.warnings(self.resource, obj, old)

    def selectable(self, obj: Object) -> dict[str, str]:
        """The values that a field selector may ask for."""
        return selectable.values(self.resource, obj)

    def selectable_fields(self) -> tuple[str, ...]:
        """The names that a field selector may use."""
        return selectable.fields(self.resource)


@cache
def _zero(group: str, version: str, kind: str) -> bytes:
    from groundplane.base.jsonyaml import dumps

    found = schema.type_of(group, version, kind)
    assert found is not None
    return dumps(decode.zero(found.fields["status"].type))


def _zero_status(group: str, version: str, kind: str) -> Object:
    from groundplane.base.jsonyaml import loads

    found: Object = loads(_zero(group, version, kind))
    return found


@cache
def of(resource: Resource) -> Strategy:
    """The strategy of a built-in resource."""
    key = (resource.group, resource.plural)
    on_create, on_update, on_status = preparation.STEPS.get(key, (None, None, None))
    return Strategy(
        resource=resource,
        has_status="status" in resource.subresources and resource.group not in _TRANSIENT,
        generation_of=_GENERATIONS.get(key),
        create_on_update=key in _CREATE_ON_UPDATE,
        unconditional_update=key not in _CONDITIONAL_ONLY,
        _on_create=on_create or _nothing,
        _on_update=on_update or _nothing_changed,
        _on_status=on_status or _nothing_changed,
    )
