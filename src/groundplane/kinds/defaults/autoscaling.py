"""autoscaling/v1 and v2."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_UP = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]
_DOWN = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def autoscaler(version: str, obj: Object) -> None:
    spec = obj["spec"]
    spec.setdefault("minReplicas", 1)
    if version == "v1":
        return
    if not spec.get("metrics"):
        spec["metrics"] = [cpu_metric(80)]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        up.setdefault("stabilizationWindowSeconds", 0)
        _rules(up, _UP)
        _rules(behavior.setdefault("scaleDown", {}), _DOWN)


def cpu_metric(percent: int) -> Object:
    """A target for the use of CPU; 80 percent is what an autoscaler without any metric has, in version 1 too."""
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _rules(rules: Object, policies: list[Object]) -> None:
    rules.setdefault("selectPolicy", "Max")
    if not rules.get("policies"):
        rules["policies"] = [dict(policy) for policy in policies]
