"""One stored object, two faces: events (core and events.k8s.io) and autoscalers (v1 and v2).

`convert` gives a new object and shares what both forms have in common; neither argument is changed
(pkg/apis/events/v1, pkg/apis/autoscaling/v1 conversion.go).
"""

from __future__ import annotations

from typing import Any

from groundplane.base.jsonyaml import DecodeError, dumps, loads
from groundplane.kinds.defaults.autoscaling import cpu_metric
from groundplane.kinds.resources import Resource

Object = dict[str, Any]

# core/v1 name → events.k8s.io/v1 name, where they differ.
_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_EVENT_NAMES_BACK = {new: old for old, new in _EVENT_NAMES.items()}
# What events.k8s.io/v1 leaves out where it is empty, and core/v1 always shows (its fields are not omitempty there).
_EVENT_ALWAYS_CORE: Object = {"reportingComponent": "", "reportingInstance": ""}

# Where autoscaling/v1 keeps what its fields cannot say.
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"


def convert(obj: Object, source: Resource, target: Resource) -> Object:
    """`obj`, an object of `source`, as one of `target`; the same object where nothing has to change."""
    if source == target:
        return obj
    if source.kind == "Event":
        out = _event(obj, _EVENT_NAMES_BACK if target.group == "" else _EVENT_NAMES)
        if target.group == "":
            out = {**_EVENT_ALWAYS_CORE, **out}
    elif target.version == "v2":
        out = _autoscaler_to_v2(obj)
    else:
        out = _autoscaler_to_v1(obj)
    return {**out, "kind": target.kind, "apiVersion": target.api_version}


def _event(obj: Object, names: dict[str, str]) -> Object:
    return {names.get(key, key): value for key, value in obj.items()}


def _autoscaler_to_v2(obj: Object) -> Object:
    spec, status = dict(obj["spec"]), dict(obj["status"])
    annotations = dict(obj["metadata"].get("annotations") or {})
    metrics = [_metric_to_v2(metric) for metric in _annotation(annotations, _METRICS) or ()]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics.append(cpu_metric(percent))
    spec["metrics"] = metrics or [cpu_metric(80)]
    behavior = _annotation(annotations, _BEHAVIOR)
    if behavior:
        spec["behavior"] = {key[0].lower() + key[1:]: value for key, value in behavior.items()}
    current = [_metric_to_v2(metric) for metric in _annotation(annotations, _CURRENT) or ()]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None:
        current.append({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
    status["currentMetrics"] = current or None
    conditions = _annotation(annotations, _CONDITIONS)
    if conditions:
        status["conditions"] = conditions
    return {**obj, "metadata": _with_annotations(obj["metadata"], annotations), "spec": spec, "status": status}


def _autoscaler_to_v1(obj: Object) -> Object:
    spec, status = dict(obj["spec"]), dict(obj["status"])
    annotations = dict(obj["metadata"].get("annotations") or {})
    others = []
    for metric in spec.pop("metrics", None) or ():
        target = metric.get("resource", {}).get("target", {})
        if metric.get("resource", {}).get("name") == "cpu" and target.get("averageUtilization") is not None:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            others.append(_metric_to_v1(metric, "target"))
    _annotate(annotations, _METRICS, others)
    _annotate(annotations, _BEHAVIOR, spec.pop("behavior", None))
    others = []
    for metric in status.pop("currentMetrics", None) or ():
        current = metric.get("resource", {}).get("current", {})
        if metric.get("resource", {}).get("name") == "cpu" and current.get("averageUtilization") is not None:
            status["currentCPUUtilizationPercentage"] = current["averageUtilization"]
        others.append(_metric_to_v1(metric, "current"))
    _annotate(annotations, _CURRENT, others)
    _annotate(annotations, _CONDITIONS, status.pop("conditions", None))
    status.setdefault("currentReplicas", 0)
    return {**obj, "metadata": _with_annotations(obj["metadata"], annotations), "spec": spec, "status": status}


def _with_annotations(meta: Object, annotations: Object) -> Object:
    rest = {key: value for key, value in meta.items() if key != "annotations"}
    return {**rest, "annotations": annotations} if annotations else rest


def _annotation(annotations: Object, name: str) -> Any:
    text = annotations.pop(name, None)
    try:
        return loads(text) if text else None
    except DecodeError:
        return None  # upstream ignores what it cannot read there


def _annotate(annotations: Object, name: str, value: Any) -> None:
    if value:
        annotations[name] = dumps(value).decode()


# Type → (field, v1's names of: the metric's name, its selector).
_METRIC_NAMES = {
    "Pods": ("pods", "metricName", "selector"),
    "Object": ("object", "metricName", "selector"),
    "External": ("external", "metricName", "metricSelector"),
}


def _metric_to_v1(metric: Object, which: str) -> Object:
    """One MetricSpec (`which` is "target") or MetricStatus ("current") in autoscaling/v1's flat form."""
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source = dict(metric.get(field) or {})
    values = source.pop(which, None) or {}
    flat: Object = {}
    if kind in _METRIC_NAMES:
        _, name, selector = _METRIC_NAMES[kind]
        identifier = source.pop("metric", None) or {}
        flat[name] = identifier.get("name", "")
        if identifier.get("selector") is not None:
            flat[selector] = identifier["selector"]
    if "describedObject" in source:
        flat["target"] = source.pop("describedObject")
    flat.update(source)
    if "averageUtilization" in values:
        flat[f"{which}AverageUtilization"] = values["averageUtilization"]
    if "averageValue" in values:
        flat["averageValue" if kind == "Object" else f"{which}AverageValue"] = values["averageValue"]
    if "value" in values:
        flat[f"{which}Value"] = values["value"]
    return {"type": kind, field: flat}


def _metric_to_v2(metric: Object) -> Object:
    """The inverse of `_metric_to_v1`."""
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    flat = dict(metric.get(field) or {})
    current = any(name.startswith("current") for name in flat)
    which = "current" if current else "target"
    values: Object = {}
    for old, new in (
        ("AverageUtilization", "averageUtilization"),
        ("AverageValue", "averageValue"),
        ("Value", "value"),
    ):
        if which + old in flat:
            values[new] = flat.pop(which + old)
    if "averageValue" in flat:
        values["averageValue"] = flat.pop("averageValue")
    if which == "target":
        names = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
        values["type"] = next((names[name] for name in names if name in values), "Value")
    out: Object = {which: values}
    if kind in _METRIC_NAMES:
        _, name, selector = _METRIC_NAMES[kind]
        out["metric"] = {"name": flat.pop(name, "")}
        if selector in flat:
            out["metric"]["selector"] = flat.pop(selector)
    if kind == "Object" and "target" in flat:
        out["describedObject"] = flat.pop("target")
    return {"type": kind, field: {**flat, **out}}
