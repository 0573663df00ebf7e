"""Two faces of one stored object."""

from __future__ import annotations

from typing import Any

from groundplane.kinds import conversion, resources


def _resource(group: str, version: str, plural: str) -> resources.Resource:
    found = resources.find(group, version, plural)
    assert found is not None
    return found


def test_an_event_keeps_everything_under_its_other_names() -> None:
    core, new = _resource("", "v1", "events"), _resource("events.k8s.io", "v1", "events")
    event = {
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "message": "m", "reason": "R", "count": 2,
        "source": {"component": "c"}, "firstTimestamp": None, "lastTimestamp": None, "reportingComponent": "c",
        "reportingInstance": "", "kind": "Event", "apiVersion": "v1",
    }  # fmt: skip
    other = conversion.convert(event, core, new)
    assert (other["regarding"], other["note"], other["deprecatedCount"]) == ({"kind": "Pod"}, "m", 2)
    assert other["apiVersion"] == "events.k8s.io/v1"
    assert conversion.convert(other, new, core) == event


def test_an_autoscaler_survives_the_old_form() -> None:
    v1 = _resource("autoscaling", "v1", "horizontalpodautoscalers")
    v2 = _resource("autoscaling", "v2", "horizontalpodautoscalers")
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    pods = {
        "type": "Pods",
        "pods": {"metric": {"name": "hits", "selector": {}}, "target": {"type": "AverageValue", "averageValue": "5"}},
    }
    described = {"kind": "Service", "name": "s"}
    value = {"type": "Value", "value": "3"}
    other = {"type": "Object", "object": {"metric": {"name": "x"}, "describedObject": described, "target": value}}
    spec: dict[str, Any] = {"maxReplicas": 3, "metrics": [pods, other, cpu], "behavior": {"scaleUp": {}}}
    status: dict[str, Any] = {"desiredReplicas": 1, "currentMetrics": None, "conditions": [{"type": "AbleToScale"}]}
    new = {
        "metadata": {"name": "h"}, "spec": spec, "status": status,
        "kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2",
    }  # fmt: skip
    old = conversion.convert(new, v2, v1)
    assert old["spec"] == {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    assert old["apiVersion"] == "autoscaling/v1"
    back = conversion.convert(old, v1, v2)
    back["status"].pop("currentReplicas")
    assert back == new
    del old["metadata"]["annotations"], old["spec"]["targetCPUUtilizationPercentage"]
    cpu["resource"]["target"]["averageUtilization"] = 80  # what there is without any metric
    assert conversion.convert(old, v1, v2)["spec"]["metrics"] == [cpu]
