"""What extends or guards the API itself, and devices."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.tables.cells import NONE, UNSET, age, condition, name

Object = dict[str, Any]
Cells = list[Any]


def api_service(obj: Object, now: float) -> Cells:
    service = obj["spec"].get("service")
    shown = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    available = condition(obj, "Available")
    state = "Unknown"
    if available is not None:
        state = str(available.get("status"))
        if state != "True" and available.get("reason"):
            state += f" ({available['reason']})"
    return [name(obj), shown, state, age(obj, now)]


def webhooks(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def validating_policy(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj["spec"].get("validations") or ()), _param_kind(obj), age(obj, now)]


def mutating_policy(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj["spec"].get("mutations") or ()), _param_kind(obj), age(obj, now)]


def _param_kind(obj: Object) -> str:
    kind = obj["spec"].get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def policy_binding(obj: Object, now: float) -> Cells:
    reference = obj["spec"].get("paramRef")
    shown = UNSET
    if reference:
        namespace = reference.get("namespace")
        target = reference.get("name") or "*"
        shown = f"{namespace}/{target}" if namespace else target
    return [name(obj), obj["spec"].get("policyName", ""), shown, age(obj, now)]


def flow_schema(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    method = (spec.get("distinguisherMethod") or {}).get("type") or NONE
    dangling = condition(obj, "Dangling")
    return [
        name(obj), spec["priorityLevelConfiguration"].get("name", ""), spec.get("matchingPrecedence", 0), method,
        age(obj, now), dangling.get("status", "?") if dangling else "?",
    ]  # fmt: skip


def priority_level(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    limited = spec.get("limited")
    shares, queues = NONE, [NONE] * 3
    if limited is not None:
        shares = str(limited.get("nominalConcurrencyShares", 0))
        queuing = limited["limitResponse"].get("queuing")
        if queuing is not None:
            queues = [str(queuing.get(field, 0)) for field in ("queues", "handSize", "queueLengthLimit")]
    elif spec.get("exempt") is not None:
        shares = str(spec["exempt"].get("nominalConcurrencyShares", 0))
    return [name(obj), spec.get("type", ""), shares, *queues, age(obj, now)]


def resource_claim(obj: Object, now: float) -> Cells:
    status = obj["status"]
    states = []
    if obj["metadata"].get("deletionTimestamp"):
        states.append("deleted")
    if status.get("allocation") is None:
        states.append("pending")
    else:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    return [name(obj), ",".join(states), age(obj, now)]


def resource_slice(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    node = spec.get("nodeName") or ("<all>" if spec.get("allNodes") else "<some>")
    return [name(obj), node, spec.get("driver", ""), spec["pool"].get("name", ""), age(obj, now)]
