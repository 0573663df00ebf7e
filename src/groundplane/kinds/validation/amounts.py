"""Resource names and amounts: requests, limits, capacities, quotas (pkg/apis/core/validation: resource functions)."""

from __future__ import annotations

from typing import Any

from groundplane.kinds import quantities
from groundplane.kinds.validation import names
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, required

Object = dict[str, Any]

_CONTAINER = ("cpu", "memory", "ephemeral-storage")
_DOMAIN = "kubernetes.io/"


def requirements(found: Object, path: str, claims: frozenset[str] = frozenset()) -> Errors:
    """A container's limits and requests, each alone and against each other."""
    errors: Errors = []
    limits, requests = found.get("limits") or {}, found.get("requests") or {}
    for name, amount in limits.items():
        errors += _one(name, amount, f"{path}.limits")
    for name, amount in requests.items():
        errors += _one(name, amount, f"{path}.requests")
        errors += _against_limit(name, amount, limits, path)
    for name in (*limits, *requests):
        if name.startswith("hugepages-") and not {"cpu", "memory"} & {*limits, *requests}:
            errors.append(forbidden(path, "HugePages require cpu or memory"))
            break
    for index, claim in enumerate(found.get("claims") or ()):
        where = f"{path}.claims[{index}].name"
        if not claim.get("name"):
            errors.append(required(where))
        elif claim["name"] not in claims:
            errors.append(invalid(where, claim["name"], "must be one of the names in pod.spec.resourceClaims"))
    return errors


def _one(name: str, amount: str, path: str) -> Errors:
    path = f"{path}[{name}]"
    return container_resource(name, path) + amount_errors(name, amount, path)


def _against_limit(name: str, amount: str, limits: Object, path: str) -> Errors:
    if name not in limits:
        missing = required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        return [] if overcommit(name) else [missing]
    limit, request = quantities.parse(limits[name]), quantities.parse(amount)
    if request.nano != limit.nano and not overcommit(name):
        return [invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limits[name]}")]
    if request.nano > limit.nano:
        return [invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}")]
    return []


def native(name: str) -> bool:
    """Kubernetes' own resource: without a domain, or of kubernetes.io."""
    return "/" not in name or _DOMAIN in name


def overcommit(name: str) -> bool:
    """Requests may be lower than limits."""
    return native(name) and not name.startswith("hugepages-")


def extended(name: str) -> bool:
    """`example.com/gpu`: a resource that nodes advertise."""
    return not native(name) and not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")


def container_resource(name: str, path: str) -> Errors:
    """A name in a container's limits or requests."""
    errors = [invalid(path, name, message) for message in names.qualified_name(name)]
    if "/" not in name:
        if name not in _CONTAINER and not name.startswith("hugepages-"):
            errors.append(invalid(path, name, "must be a standard resource for containers"))
    elif not native(name) and not extended(name):
        errors.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return errors


def amount_errors(name: str, amount: str, path: str) -> Errors:
    """An amount must not be negative; things that cannot be split must be whole."""
    quantity = quantities.parse(amount)
    if quantity.nano < 0:
        return [invalid(path, amount, "must be greater than or equal to 0")]
    if extended(name) and quantity.nano % 10**9:
        return [invalid(path, amount, "must be an integer")]
    return []


def positive(amount: str, path: str) -> Errors:
    if quantities.parse(amount).nano > 0:
        return []
    return [invalid(path, amount, "must be greater than zero")]
