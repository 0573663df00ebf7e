"""What a start has to write so that the delivered objects are there: a pure plan, performed by the server in one batch.

    missing                                        create
    a role or binding that may be brought up to date   what it lacks is added; what somebody added stays
    anything else that is there                    left alone

After kubernetes/pkg/registry/rbac/rest/storage_rbac.go and pkg/registry/rbac/reconciliation: RBAC's delivered objects
carry the annotation rbac.authorization.kubernetes.io/autoupdate, and an administrator who sets it to false is obeyed.
A group of RBAC objects that an administrator deleted comes back at the next start, as upstream's does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from groundplane.apiserver.access.contract import PolicyRule
from groundplane.apiserver.access.escalation import breakdown, covers

Object = dict[str, Any]
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"

# Made by the server itself or by others at their first need, with values of this cluster: an address, an endpoint, a
# certificate. The table has them because the server that it was read from had already made them.
_OF_THE_CLUSTER = {"Service", "Endpoints", "EndpointSlice", "ServiceCIDR", "IPAddress", "ConfigMap"}

Find = Callable[[Object], Object | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Objects to create, and pairs (there now, as it should be) to update."""

    create: list[Object]
    update: list[tuple[Object, Object]]


def plan(delivered: Iterable[Object], find: Find, now: str) -> Plan:
    """What is to be written at `now` (RFC 3339); `find` gives the living object of a delivered one's kind and name."""
    create: list[Object] = []
    update: list[tuple[Object, Object]] = []
    for wanted in in_order(o for o in delivered if o["kind"] not in _OF_THE_CLUSTER):
        living = find(wanted)
        if living is None:
            create.append(_available(wanted, now) if wanted["kind"] == "APIService" else wanted)
        elif (better := reconciled(wanted, living)) is not None:
            update.append((living, better))
    return Plan(create, update)


def in_order(objects: Iterable[Object]) -> list[Object]:
    """Namespaces before what lies in them, roles before bindings."""
    ranks = {"Namespace": 0, "PriorityClass": 1, "ClusterRole": 2, "Role": 3, "ClusterRoleBinding": 4, "RoleBinding": 5}
    return sorted(objects, key=lambda o: ranks.get(o["kind"], 9))


def reconciled(wanted: Object, living: Object) -> Object | None:
    """The living object with what it lacks, None where it lacks nothing or is not to be touched."""
    if living["kind"] not in ("ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"):
        return None
    if (living["metadata"].get("annotations") or {}).get(AUTO_UPDATE) != "true":
        return None
    changed = _with_metadata(wanted, living)
    if living["kind"].endswith("Binding"):
        if wanted["roleRef"] != living["roleRef"]:
            return None  # immutable: the administrator bound another role under this name
        missing = [s for s in wanted.get("subjects") or () if not _names(living.get("subjects") or (), s)]
        return _appended(changed, living, "subjects", missing)
    if wanted.get("aggregationRule") is not None:
        return changed if changed is not living else None  # the aggregation controller owns the rules
    held = [PolicyRule.read(r) for r in living.get("rules") or ()]
    lacking = [
        rule
        for rule in wanted.get("rules") or ()
        if not all(any(covers(own, part) for own in held) for part in breakdown(PolicyRule.read(rule)))
    ]
    return _appended(changed, living, "rules", lacking)


def _available(service: Object, now: str) -> Object:
    """An APIService that this server answers itself (kube-aggregator, pkg/controllers/status/local)."""
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": now,
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    return {**service, "status": {"conditions": [condition]}}


def _with_metadata(wanted: Object, living: Object) -> Object:
    """The living object with the delivered labels and annotations; the same object where it has them all."""
    meta = living["metadata"]
    for key in ("labels", "annotations"):
        have, want = meta.get(key) or {}, wanted["metadata"].get(key) or {}
        if any(have.get(k) != v for k, v in want.items()):
            meta = {**meta, key: {**have, **want}}
    return living if meta is living["metadata"] else {**living, "metadata": meta}


def _appended(changed: Object, living: Object, key: str, more: list[Object]) -> Object | None:
    if not more:
        return changed if changed is not living else None
    return {**changed, key: [*(living.get(key) or ()), *more]}


def _names(subjects: Iterable[Object], subject: Object) -> bool:
    keys = ("kind", "apiGroup", "namespace", "name")
    return any(all((s.get(k) or "") == (subject.get(k) or "") for k in keys) for s in subjects)
