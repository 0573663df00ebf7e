"""Controllers of pods."""

from __future__ import annotations

from typing import Any

from groundplane.base.clock import parse_rfc3339
from groundplane.kinds.tables.cells import (
    NONE,
    UNKNOWN,
    UNSET,
    age,
    containers,
    human_duration,
    is_true,
    labels,
    name,
    selector,
    since,
    truth,
)  # fmt: skip

Object = dict[str, Any]
Cells = list[Any]


def pod_template(obj: Object, now: float) -> Cells:
    template = obj["template"]
    return [name(obj), *containers(template), labels(template["metadata"].get("labels"))]


def replication_controller(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    template = spec.get("template") or {"spec": {}}
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(obj), *counts, age(obj, now), *containers(template), labels(spec.get("selector"))]


def replica_set(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(obj), *counts, age(obj, now), *containers(spec["template"]), selector(spec.get("selector"))]


def deployment(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [name(obj), ready, *counts, age(obj, now), *containers(spec["template"]), selector(spec.get("selector"))]


def scale(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [name(obj), spec.get("replicas", 0), status.get("replicas", 0), age(obj, now)]


def daemon_set(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    counts = [
        status.get(field, 0)
        for field in (
            "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
            "numberAvailable",
        )
    ]  # fmt: skip
    node_selector = labels(spec["template"]["spec"].get("nodeSelector"))
    return [
        name(obj), *counts, node_selector, age(obj, now), *containers(spec["template"]), selector(spec.get("selector")),
    ]  # fmt: skip


def stateful_set(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [name(obj), ready, age(obj, now), *containers(spec["template"])]


def controller_revision(obj: Object, now: float) -> Cells:
    owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    shown = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "").lower()
        shown = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [name(obj), shown, obj.get("revision", 0), age(obj, now)]


_JOB_STATES = ("Complete", "Failed", "Terminating", "Suspended", "FailureTarget", "SuccessCriteriaMet")


def job(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    done = status.get("succeeded", 0)
    if "completions" in spec:
        completions = f"{done}/{spec['completions']}"
    elif spec.get("parallelism", 0) > 1:
        completions = f"{done}/1 of {spec['parallelism']}"
    else:
        completions = f"{done}/1"
    duration = ""
    if status.get("startTime"):
        end = parse_rfc3339(status["completionTime"]) if status.get("completionTime") else now
        duration = human_duration(end - parse_rfc3339(status["startTime"]))
    return [
        name(obj), _job_state(obj), completions, duration, age(obj, now), *containers(spec["template"]),
        selector(spec.get("selector")),
    ]  # fmt: skip


def _job_state(obj: Object) -> str:
    for state in _JOB_STATES:
        if state == "Terminating":
            if obj["metadata"].get("deletionTimestamp"):
                return state
        elif is_true(obj, state):
            return state
    return "Running"


def cron_job(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    last = since(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    job_spec = spec["jobTemplate"]["spec"]
    return [
        name(obj), spec.get("schedule", ""), spec.get("timeZone") or NONE, truth(spec.get("suspend")),
        len(status.get("active") or ()), last, age(obj, now), *containers(job_spec["template"]),
        selector(job_spec.get("selector")),
    ]  # fmt: skip


def disruption_budget(obj: Object, now: float) -> Cells:
    spec = obj["spec"]
    bounds = [str(spec[field]) if field in spec else "N/A" for field in ("minAvailable", "maxUnavailable")]
    return [name(obj), *bounds, obj["status"].get("disruptionsAllowed", 0), age(obj, now)]


def autoscaler(obj: Object, now: float) -> Cells:
    spec, status = obj["spec"], obj["status"]
    target = spec["scaleTargetRef"]
    reference = f"{target.get('kind', '')}/{target.get('name', '')}"
    least = str(spec["minReplicas"]) if "minReplicas" in spec else UNSET
    counts = [spec.get("maxReplicas", 0), status.get("currentReplicas", 0)]
    return [name(obj), reference, _targets(spec, status), least, *counts, age(obj, now)]


def _targets(spec: Object, status: Object) -> str:
    """`cpu: 12%/80%`, two metrics at most (formatHPAMetrics)."""
    if "metrics" not in spec and "targetCPUUtilizationPercentage" in spec:  # autoscaling/v1
        current = status.get("currentCPUUtilizationPercentage")
        return f"cpu: {UNKNOWN if current is None else f'{current}%'}/{spec['targetCPUUtilizationPercentage']}%"
    metrics = spec.get("metrics") or ()
    if not metrics:
        return NONE
    current = status.get("currentMetrics") or ()
    shown = [_target(metric, current[i] if i < len(current) else {}) for i, metric in enumerate(metrics)]
    text = ", ".join(shown[:2])
    return f"{text} + {len(shown) - 2} more..." if len(shown) > 2 else text


def _target(metric: Object, status: Object) -> str:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source, state = metric.get(field) or {}, (status.get(field) or {}).get("current") or {}
    target = source.get("target") or {}
    prefix = f"{source.get('name', '')}: " if kind in ("Resource", "ContainerResource") else ""
    if "averageValue" in target:
        average = " (avg)" if kind in ("External", "Object") else ""
        return f"{prefix}{state.get('averageValue', UNKNOWN)}/{target['averageValue']}{average}"
    if "averageUtilization" in target:
        current = state.get("averageUtilization")
        return f"{prefix}{UNKNOWN if current is None else f'{current}%'}/{target['averageUtilization']}%"
    if "value" in target:
        return f"{prefix}{state.get('value', UNKNOWN)}/{target['value']}"
    return "<unknown type>"
