"""Which taints a node should carry. Pure. pkg/controller/nodelifecycle/node_lifecycle_controller.go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object
from groundplane.client.objects import condition_of
from groundplane.kinds.tolerations import NO_EXECUTE, NO_SCHEDULE

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

# nodeConditionToTaintKeyStatusMap: which state of which condition keeps new pods away.
_BY_CONDITION = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_MANAGED = {key for states in _BY_CONDITION.values() for key in states.values()} | {UNSCHEDULABLE}


def ready_status(node: Object) -> str:
    """True, False or Unknown; a node that never said anything is Unknown."""
    return (condition_of(node, "Ready") or {}).get("status") or "Unknown"


def taints(node: Object, now: float, *, evict: bool) -> list[Object]:
    """All taints as they should be; those that are not ours stay. `evict`: pods may be sent off (NoExecute)."""
    wanted = _no_schedule(node) + (_no_execute(node) if evict else [])
    old: Sequence[Object] = (node.get("spec") or {}).get("taints") or ()
    mine = [each for each in old if _is_mine(each)]
    others = [each for each in old if not _is_mine(each)]
    kept = [_known(mine, each) or each for each in wanted]
    stamped = [
        each if each.get("timeAdded") or each["effect"] != NO_EXECUTE else {**each, "timeAdded": rfc3339(now)}
        for each in kept
    ]
    if {_word(t) for t in mine} == {_word(t) for t in stamped}:
        return list(old)
    return [*others, *stamped]


def _no_schedule(node: Object) -> list[Object]:
    found = []
    for type, states in _BY_CONDITION.items():
        condition = condition_of(node, type)
        key = states.get(condition.get("status") or "") if condition else None
        if key:
            found.append({"key": key, "effect": NO_SCHEDULE})
    if (node.get("spec") or {}).get("unschedulable"):
        found.append({"key": UNSCHEDULABLE, "effect": NO_SCHEDULE})
    return found


def _no_execute(node: Object) -> list[Object]:
    condition = condition_of(node, "Ready")
    key = _BY_CONDITION["Ready"].get((condition or {}).get("status") or "")
    return [{"key": key, "effect": NO_EXECUTE}] if key else []


def _is_mine(taint: Object) -> bool:
    if taint.get("effect") == NO_EXECUTE:
        return taint.get("key") in (NOT_READY, UNREACHABLE)
    return taint.get("effect") == NO_SCHEDULE and taint.get("key") in _MANAGED


def _known(old: Iterable[Object], wanted: Object) -> Object | None:
    return next((each for each in old if _word(each) == _word(wanted)), None)


def _word(taint: Object) -> tuple[str, str]:
    return taint["key"], taint["effect"]
