"""Jobs, CronJobs and autoscalers (pkg/apis/batch, pkg/apis/autoscaling)."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import cron, internal, names, pods, selection
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, required, unsupported
from groundplane.kinds.validation.numbers import immutable, not_negative, one_of
from groundplane.kinds.validation.workloads import matches

Object = dict[str, Any]

_RESTARTS = ("OnFailure", "Never")
_INDEXED_LIMIT = 100_000
_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip


def job(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = job_spec(spec, "spec")
    if spec.get("selector") is None:
        errors.append(required("spec.selector"))
    else:
        errors += selection.label_selector(spec["selector"], "spec.selector")
        errors += matches(spec, spec["template"]["metadata"].get("labels"))
    return errors


def job_spec(spec: Object, path: str) -> Errors:
    """What a Job and a CronJob's template have in common."""
    errors = not_negative(spec, path, *_COUNTS)
    mode = spec.get("completionMode")
    if mode is not None:
        errors += one_of(mode, f"{path}.completionMode", ("NonIndexed", "Indexed"))
    if mode == "Indexed":
        if spec.get("completions") is None:
            errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
        if spec.get("parallelism", 0) > _INDEXED_LIMIT:
            text = f"must be less than or equal to {_INDEXED_LIMIT} when completion mode is Indexed"
            errors.append(invalid(f"{path}.parallelism", spec["parallelism"], text))
    else:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(name) is not None:
                errors.append(invalid(f"{path}.{name}", spec[name], "requires indexed completion mode"))
    if spec.get("podReplacementPolicy") is not None:
        allowed = ("Failed", "TerminatingOrFailed")
        errors += one_of(spec["podReplacementPolicy"], f"{path}.podReplacementPolicy", allowed)
    errors += pods.template(spec["template"], f"{path}.template")
    return errors + _restart(spec, path) + _failure_policy(spec, path)


def _restart(spec: Object, path: str) -> Errors:
    policy, where = spec["template"]["spec"].get("restartPolicy"), f"{path}.template.spec.restartPolicy"
    if policy == "Always":
        return [required(where, 'valid values: "OnFailure", "Never"')]
    if policy not in _RESTARTS:
        return [unsupported(where, policy, _RESTARTS)]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [invalid(where, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


def _failure_policy(spec: Object, path: str) -> Errors:
    errors: Errors = []
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        where = f"{path}.podFailurePolicy.rules[{index}]"
        errors += one_of(rule.get("action", ""), f"{where}.action", _ACTIONS)
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None and patterns:
            text = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid(where, rule, text))
        if codes is None and not patterns:
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(invalid(where, rule, text))
        if codes is not None:
            errors += one_of(codes.get("operator", ""), f"{where}.onExitCodes.operator", ("In", "NotIn"))
            if not codes.get("values"):
                errors.append(
                    invalid(f"{where}.onExitCodes.values", codes.get("values"), "at least one value is required")
                )
    return errors


_SUSPENDED_MUTABLE = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


def job_update(new: Object, old: Object) -> Errors:
    after, before = new["spec"], old["spec"]
    errors = job(new) if after != before else []
    elastic = after.get("completionMode") == "Indexed" and after.get("completions") == after.get("parallelism")
    if not elastic:
        errors += immutable(after, before, "spec", "completions")
    errors += immutable(after, before, "spec", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex")
    if _template(after, before, old) != before["template"]:
        shown = internal.shown("core.v1.PodTemplateSpec", after["template"])
        errors.append(invalid("spec.template", shown, "field is immutable"))
    return errors


def _template(after: Object, before: Object, old: Object) -> Object:
    """The new template; of a Job that never ran yet, scheduling directives may change (KEP-2926)."""
    new: Object = after["template"]
    if not before.get("suspend") or old["status"].get("startTime"):
        return new
    spec = dict(new["spec"])
    for name in _SUSPENDED_MUTABLE:
        spec.pop(name, None)
        if name in before["template"]["spec"]:
            spec[name] = before["template"]["spec"][name]
    return {**new, "metadata": before["template"]["metadata"], "spec": spec}


def cron_job(obj: Object) -> Errors:
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    errors: Errors = []
    if len(name) > 52:
        errors.append(invalid("metadata.name", name, "must be no more than 52 characters"))
    errors += _schedule(spec)
    errors += not_negative(spec, "spec", "startingDeadlineSeconds")
    errors += one_of(spec.get("concurrencyPolicy", ""), "spec.concurrencyPolicy", ("Allow", "Forbid", "Replace"))
    template = spec["jobTemplate"]["spec"]
    if template.get("manualSelector"):
        text = "cannot be set to true in a CronJob"
        errors.append(unsupported("spec.jobTemplate.spec.manualSelector", text, ("nil", "false")))
    errors += job_spec(template, "spec.jobTemplate.spec")
    return errors + not_negative(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")


def _schedule(spec: Object) -> Errors:
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    errors: Errors = []
    if not schedule:
        errors.append(required("spec.schedule"))
    elif "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid("spec.schedule", schedule, text))
    elif text := cron.complaint(schedule):
        errors.append(invalid("spec.schedule", schedule, text))
    if zone is not None:
        errors += [invalid("spec.timeZone", zone, text) for text in _zone(zone)]
    return errors


def _zone(zone: str) -> list[str]:
    import zoneinfo  # late: only CronJobs with a time zone need it

    if not zone:
        return ["timeZone must be nil or non-empty string"]
    if zone.lower() == "local":
        return ["timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"]
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [f"unknown time zone {zone}"]
    return []


def autoscaler(obj: Object) -> Errors:
    spec = obj["spec"]
    errors: Errors = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        errors.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    errors += _target(spec["scaleTargetRef"], "spec.scaleTargetRef")
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None and percent < 1:
        errors.append(invalid("spec.targetCPUUtilizationPercentage", percent, "must be greater than 0"))
    for index, metric in enumerate(spec.get("metrics") or ()):
        errors += _metric(metric, f"spec.metrics[{index}]")
    for name in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(name)
        if rules is not None:
            errors += _rules(rules, f"spec.behavior.{name}")
    return errors


def _target(target: Object, path: str) -> Errors:
    errors: Errors = []
    group = target.get("apiVersion", "").rpartition("/")[0]
    if not group and target.get("kind") != "ReplicationController":
        text = "apiVersion must specify API group"
        errors.append(invalid(f"{path}.apiVersion", target.get("apiVersion", ""), text))
    for name in ("kind", "name"):
        value = target.get(name, "")
        if not value:
            errors.append(required(f"{path}.{name}"))
        else:
            errors += [invalid(f"{path}.{name}", value, message) for message in names.path_segment(value)]
    return errors


_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")


def _metric(metric: Object, path: str) -> Errors:
    kind = metric.get("type", "")
    if not kind:
        return [required(f"{path}.type", "must specify a metric source type")]
    if kind not in _METRICS:
        return [unsupported(f"{path}.type", kind, _METRICS)]
    field = kind[:1].lower() + kind[1:]
    errors: Errors = []
    source = metric.get(field)
    if source is None:
        text = "must populate information for the given metric source"
        return [required(f"{path}.{field}", text)]
    for other in _METRICS:
        name = other[:1].lower() + other[1:]
        if name != field and name in metric:
            errors.append(forbidden(f"{path}.{name}", "must populate the given metric source only"))
    target = source.get("target") or {}
    if not any(name in target for name in ("value", "averageValue", "averageUtilization")):
        text = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.{field}.target.averageUtilization", text))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid(f"{path}.{field}.target.averageUtilization", utilization, "must be greater than 0"))
    return errors


def _rules(rules: Object, path: str) -> Errors:
    errors: Errors = []
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and not 0 <= window <= 3600:
        text = "must be greater than or equal to zero" if window < 0 else "must be less than or equal to 3600"
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, text))
    if rules.get("selectPolicy") is not None:
        errors += one_of(rules["selectPolicy"], f"{path}.selectPolicy", ("Disabled", "Max", "Min"))
    if not rules.get("policies"):
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.get("policies") or ()):
        where = f"{path}.policies[{index}]"
        errors += one_of(policy.get("type", ""), f"{where}.type", ("Percent", "Pods"))
        for name in ("value", "periodSeconds"):
            if policy.get(name, 0) <= 0:
                errors.append(invalid(f"{where}.{name}", policy.get(name, 0), "must be greater than zero"))
        if policy.get("periodSeconds", 0) > 1800:
            errors.append(
                invalid(f"{where}.periodSeconds", policy["periodSeconds"], "must be less than or equal to 1800")
            )
    return errors
