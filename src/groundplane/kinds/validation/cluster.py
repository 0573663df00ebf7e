"""Nodes, leases, classes: kinds of the cluster itself; and what subresources take."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import amounts, names, selection
from groundplane.kinds.validation.errors import Errors, duplicate, forbidden, invalid, unsupported
from groundplane.kinds.validation.numbers import immutable, not_negative

Object = dict[str, Any]

_HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def node(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = selection.taints(spec.get("taints") or (), "metadata.taints")  # upstream's path
    for name in ("capacity", "allocatable"):
        for resource, amount in (obj["status"].get(name) or {}).items():
            path = f"status.{name}[{resource}]"
            errors += [invalid(path, resource, message) for message in names.qualified_name(resource)]
            errors += amounts.amount_errors(resource, amount, path)
    for index, text in enumerate(spec.get("podCIDRs") or ()):
        errors += [invalid(f"spec.podCIDRs[{index}]", text, message) for message in names.cidr(text)]
    return errors


_NODE_MUTABLE = ("taints", "unschedulable", "podCIDR", "podCIDRs", "providerID", "configSource")


def node_update(new: Object, old: Object) -> Errors:
    after, before = new["spec"], old["spec"]
    # both the update's own rules and the shared ones look at taints, so each complaint comes twice
    errors = selection.taints(after.get("taints") or (), "metadata.taints") + node(new)
    if before.get("podCIDRs") and after.get("podCIDRs") != before["podCIDRs"]:
        text = 'node updates may not change podCIDR except from "" to valid'
        errors.append(forbidden("spec.podCIDRs", text))
    if before.get("providerID") and after.get("providerID") != before["providerID"]:
        text = 'node updates may not change providerID except from "" to valid'
        errors.append(forbidden("spec.providerID", text))
    if any(after.get(name) != before.get(name) for name in {**after, **before} if name not in _NODE_MUTABLE):
        errors.append(forbidden("", "node updates may only change labels, taints, or capacity"))
    return errors


def node_status(new: Object, old: Object) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(new["status"].get("addresses") or ()):
        key = (one.get("type", ""), one.get("address", ""))
        if key in seen:
            errors.append(duplicate(f"status.addresses[{index}]", one))
        seen.add(key)
    return errors


def lease(obj: Object) -> Errors:
    spec = obj["spec"]
    errors: Errors = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    return errors + not_negative(spec, "spec", "leaseTransitions")


def priority_class(obj: Object) -> Errors:
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith("system-"):
        if _SYSTEM_CLASSES.get(name) == value:
            return []
        text = "priority class names with 'system-' prefix are reserved for system use only"
        return [forbidden("metadata.name", text)]
    errors: Errors = []
    if value > _HIGHEST_USER_PRIORITY:
        text = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        errors.append(forbidden("value", text))
    policy, allowed = obj.get("preemptionPolicy"), ("Never", "PreemptLowerPriority")
    if policy is not None and policy not in allowed:
        errors.append(unsupported("preemptionPolicy", policy, allowed))
    return errors


def priority_class_update(new: Object, old: Object) -> Errors:
    errors: Errors = []
    if new.get("value") != old.get("value"):
        errors.append(forbidden("value", "may not be changed in an update."))
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        text = "field is immutable"
        errors.append(invalid("preemptionPolicy", new.get("preemptionPolicy"), text))
    return errors


def runtime_class(obj: Object) -> Errors:
    handler = obj.get("handler", "")
    errors = [invalid("handler", handler, message) for message in names.label(handler)]
    scheduling = obj.get("scheduling") or {}
    errors += selection.tolerations(scheduling.get("tolerations") or (), "scheduling.tolerations")
    for name, amount in ((obj.get("overhead") or {}).get("podFixed") or {}).items():
        errors += amounts.amount_errors(name, amount, f"overhead.podFixed[{name}]")
    return errors


def runtime_class_update(new: Object, old: Object) -> Errors:
    return immutable(new, old, "", "handler")


# ── subresources ─────────────────────────────────────────────────────────────────────────────────────────────────────
