"""Facts about pods that several rooms need: quality of service, effective requests, label keys of spreading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groundplane.kinds import quantities

Object = dict[str, Any]

_COMPUTE = ("cpu", "memory")


def containers(spec: Object) -> Iterator[Object]:
    """Init containers and containers."""
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/helper/qos: ComputePodQOS).

    Guaranteed: every container limits cpu and memory, and requests as much. BestEffort: no container says anything.
    Pod-level resources (KEP-2837), where given, stand for all containers.
    """
    spec = pod["spec"]
    overall = spec.get("resources")
    parts = [overall] if overall else [c.get("resources") or {} for c in containers(spec)]
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    for part in parts:
        for name, amount in (part.get("requests") or {}).items():
            if name in _COMPUTE and (nano := quantities.parse(amount).nano) > 0:
                requests[name] = requests.get(name, 0) + nano
        limited = set()
        for name, amount in (part.get("limits") or {}).items():
            if name in _COMPUTE and (nano := quantities.parse(amount).nano) > 0:
                limited.add(name)
                limits[name] = limits.get(name, 0) + nano
        if len(limited) != len(_COMPUTE):
            guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and all(limits.get(name) == amount for name, amount in requests.items()):
        return "Guaranteed" if len(requests) == len(limits) else "Burstable"
    return "Burstable"


def apply_label_keys(pod: Object) -> None:
    """`matchLabelKeys` of affinity and spreading become requirements of their selector (KEP-3633, 3243); in place."""
    labels = pod["metadata"].get("labels") or {}
    affinity = pod["spec"].get("affinity") or {}
    for name in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(name) or {}
        terms = list(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [weighted["podAffinityTerm"] for weighted in preferred if weighted.get("podAffinityTerm")]
        for term in terms:
            _label_keys(term, labels)
    for constraint in pod["spec"].get("topologySpreadConstraints") or ():
        _label_keys(constraint, labels)


def _label_keys(term: Object, labels: Object) -> None:
    selector = term.get("labelSelector")
    if selector is None:
        return
    for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in term.get(field) or ():
            if key in labels:
                requirement = {"key": key, "operator": operator, "values": [labels[key]]}
                selector.setdefault("matchExpressions", []).append(requirement)
