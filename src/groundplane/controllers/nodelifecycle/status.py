"""The conditions of a node that went silent. Pure."""

from __future__ import annotations

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object

_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def silent(node: Object, now: float) -> Object | None:
    """The status with every condition that a kubelet posts Unknown; None where all are already."""
    stamp = rfc3339(now)
    status = node.get("status") or {}
    by_type = {each["type"]: each for each in status.get("conditions") or ()}
    changed = False
    for type in _WATCHED:
        old = by_type.get(type)
        if old is None:
            changed = True
            by_type[type] = {
                "type": type,
                "status": "Unknown",
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node["metadata"].get("creationTimestamp") or stamp,
                "lastTransitionTime": stamp,
            }
        elif old.get("status") != "Unknown":
            changed = True
            by_type[type] = {
                **old,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": stamp,
            }
    return {**status, "conditions": list(by_type.values())} if changed else None
