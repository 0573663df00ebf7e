"""What a pod asks for, all its containers together (k8s.io/component-helpers/resource `PodRequests`, `PodLimits`).

    containers and sidecars run together           sum
    an init container runs beside earlier sidecars largest of these moments
    the pod needs the larger of both, plus its overhead; what `spec.resources` says for a resource wins over all
A sidecar is an init container with restartPolicy Always. CPU is in thousandths, all else in whole units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from groundplane.kinds.quantities import parse

Amounts = dict[str, int]

# pkg/scheduler/util: a container that asks for nothing is weighed as if it asked for these.
DEFAULT_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024


def amount(resource: str, quantity: Any) -> int:
    """Thousandths for cpu, whole units for the rest, rounded up."""
    value = parse(quantity)
    return value.milli if resource == "cpu" else value.value


def amounts(quantities: Mapping[str, Any] | None) -> Amounts:
    return {resource: amount(resource, quantity) for resource, quantity in (quantities or {}).items()}


def requests(spec: Mapping[str, Any]) -> Amounts:
    """The pod's requests by resource."""
    return _together(spec, "requests", lambda found: found)


def limits(spec: Mapping[str, Any]) -> Amounts:
    """The pod's limits by resource; a container without a limit adds nothing."""
    return _together(spec, "limits", lambda found: found)


def weighed_requests(spec: Mapping[str, Any]) -> tuple[int, int]:
    """(cpu, memory) for scoring, with defaults for containers that ask for none."""

    def filled(found: Amounts) -> Amounts:
        return {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY} | found

    total = _together(spec, "requests", filled)
    return total.get("cpu", 0), total.get("memory", 0)


def _together(spec: Mapping[str, Any], what: str, fill: Callable[[Amounts], Amounts]) -> Amounts:
    def of(container: Mapping[str, Any]) -> Amounts:
        return fill(amounts((container.get("resources") or {}).get(what)))

    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, of(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = of(container)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _raise_to(peak, own)
    _raise_to(total, peak)
    total |= amounts((spec.get("resources") or {}).get(what))
    if what == "requests" or total:
        _add(total, amounts(spec.get("overhead")))
    return total


def _add(total: Amounts, more: Amounts) -> None:
    for resource, value in more.items():
        total[resource] = total.get(resource, 0) + value


def _raise_to(total: Amounts, other: Amounts) -> None:
    for resource, value in other.items():
        if value > total.get(resource, 0):
            total[resource] = value
