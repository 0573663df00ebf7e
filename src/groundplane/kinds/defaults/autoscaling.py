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
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        up.setdefault("stabilizationWindowSeconds", 0)
        _rules(up, _UP)
        _rules(behavior.setdefault("scaleDown", {}), _DOWN)


def _rules(rules: Object, policies: list[Object]) -> None:
    rules.setdefault("selectPolicy", "Max")
    if not rules.get("policies"):
        rules["policies"] = [dict(policy) for policy in policies]
