"""Deployments, ReplicaSets, DaemonSets, StatefulSets, ReplicationControllers (pkg/apis/apps/validation)."""

from __future__ import annotations

from typing import Any

from groundplane.kinds import selectors
from groundplane.kinds.validation import internal, meta, pods, selection
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, required, unsupported
from groundplane.kinds.validation.numbers import (
    at_most_all,
    count_or_percent,
    immutable,
    is_zero,
    not_negative,
    one_of,
)

Object = dict[str, Any]

MISMATCH = "`selector` does not match template `labels`"


def deployment(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = not_negative(spec, "spec", "replicas")
    errors += selector(spec, "deployment")
    errors += _always_template(spec, "ReplicaSet")
    errors += _strategy(spec["strategy"], "spec.strategy")
    errors += not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def deployment_update(new: Object, old: Object) -> Errors:
    return deployment(new) + immutable(new["spec"], old["spec"], "spec", "selector")


def selector(spec: Object, kind: str) -> Errors:
    """A workload's selector must be there and say something."""
    found = spec.get("selector")
    if found is None:
        return [required("spec.selector")]
    errors = selection.label_selector(found, "spec.selector")
    if not found.get("matchLabels") and not found.get("matchExpressions"):
        errors.append(invalid("spec.selector", found, f"empty selector is invalid for {kind}"))
    return errors


def matches(spec: Object, labels: Object | None) -> Errors:
    """The template's labels must be what the selector looks for."""
    try:
        parsed = selectors.from_object(spec.get("selector"))
    except selectors.SelectorError:
        return []  # complained about already
    if parsed.everything or parsed.matches(labels):
        return []
    return [invalid("spec.template.metadata.labels", labels, MISMATCH)]


def _always_template(spec: Object, kind: str) -> Errors:
    template = spec["template"]
    errors = matches(spec, template["metadata"].get("labels"))
    errors += pods.template(template, "spec.template")
    return errors + _always(template["spec"], kind)


def _always(spec: Object, kind: str) -> Errors:
    errors: Errors = []
    policy = spec.get("restartPolicy")
    if policy != "Always":
        errors.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        text = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden("spec.template.spec.activeDeadlineSeconds", text))
    return errors


def _strategy(strategy: Object, path: str) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(f"{path}.rollingUpdate", text)]
    if kind != "RollingUpdate":
        return [unsupported(f"{path}.type", kind, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    path = f"{path}.rollingUpdate"
    errors = count_or_percent(rolling["maxUnavailable"], f"{path}.maxUnavailable")
    errors += count_or_percent(rolling["maxSurge"], f"{path}.maxSurge")
    if is_zero(rolling["maxUnavailable"]) and is_zero(rolling["maxSurge"]):
        text = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid(f"{path}.maxUnavailable", rolling["maxUnavailable"], text))
    return errors + at_most_all(rolling["maxUnavailable"], f"{path}.maxUnavailable")


def replica_set(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = not_negative(spec, "spec", "replicas", "minReadySeconds") + selector(spec, "deployment")
    return errors + _always_template(spec, "ReplicaSet")


def replica_set_update(new: Object, old: Object) -> Errors:
    return replica_set(new) + immutable(new["spec"], old["spec"], "spec", "selector")


_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")


def counted_status(new: Object, old: Object) -> Errors:
    """Statuses that count replicas: no part is larger than the whole."""
    status = new["status"]
    errors = not_negative(status, "status", *_COUNTS, "updatedReplicas", "unavailableReplicas")
    total = status.get("replicas", 0)
    for name in ("fullyLabeledReplicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
        if status.get(name, 0) > total:
            errors.append(invalid(f"status.{name}", status.get(name, 0), "cannot be greater than status.replicas"))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        text = "cannot be greater than readyReplicas"
        errors.append(invalid("status.availableReplicas", status.get("availableReplicas", 0), text))
    return errors


def replication_controller(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = not_negative(spec, "spec", "minReadySeconds", "replicas")
    if not spec.get("selector"):
        errors.append(required("spec.selector"))
    template = spec.get("template")
    if template is None:
        return [*errors, required("spec.template")]
    labels = template["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("selector") or {}).items()):
        errors.append(invalid("spec.template.metadata.labels", labels or None, MISMATCH))
    return errors + pods.template(template, "spec.template") + _always(template["spec"], "ReplicationController")


def daemon_set(obj: Object) -> Errors:
    spec = obj["spec"]
    errors = selection.label_selector(spec.get("selector"), "spec.selector")
    found = spec.get("selector") or {}
    errors += matches(spec, spec["template"]["metadata"].get("labels"))
    if not found.get("matchLabels") and not found.get("matchExpressions"):
        errors.append(invalid("spec.selector", spec.get("selector"), "empty selector is invalid for daemonset"))
    errors += pods.template(spec["template"], "spec.template") + _always(spec["template"]["spec"], "DaemonSet")
    errors += not_negative(spec, "spec", "minReadySeconds")
    errors += _daemon_strategy(spec["updateStrategy"], "spec.updateStrategy")
    return errors + not_negative(spec, "spec", "revisionHistoryLimit")


def daemon_set_update(new: Object, old: Object) -> Errors:
    return daemon_set(new) + immutable(new["spec"], old["spec"], "spec", "selector")


def _daemon_strategy(strategy: Object, path: str) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [unsupported(f"{path}.type", kind, ("RollingUpdate", "OnDelete"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate")]
    path = f"{path}.rollingUpdate"
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    errors = count_or_percent(unavailable, f"{path}.maxUnavailable") + at_most_all(
        unavailable, f"{path}.maxUnavailable"
    )
    errors += count_or_percent(surge, f"{path}.maxSurge") + at_most_all(surge, f"{path}.maxSurge")
    if not is_zero(unavailable) and not is_zero(surge):
        errors.append(invalid(f"{path}.maxSurge", surge, "may not be set when `maxUnavailable` is non-zero"))
    elif is_zero(unavailable) and is_zero(surge):
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when `maxSurge` is 0"))
    return errors


def stateful_set(obj: Object) -> Errors:
    spec = obj["spec"]
    policy = spec.get("podManagementPolicy", "")
    errors: Errors = []
    if policy not in ("OrderedReady", "Parallel"):
        path, text = "spec.podManagementPolicy", "must be 'OrderedReady' or 'Parallel'"
        errors.append(invalid(path, policy, text) if policy else required(path))
    errors += _stateful_strategy(spec["updateStrategy"], "spec.updateStrategy")
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        if retention.get(name) not in (None, "Retain", "Delete"):
            where = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            errors.append(unsupported(where, retention[name], ("Retain", "Delete")))
    errors += not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    errors += not_negative(spec.get("ordinals") or {}, "spec.ordinals", "start")
    errors += selector(spec, "statefulset")
    template = spec["template"]
    errors += matches(spec, template["metadata"].get("labels"))
    # the pod's own spec is checked when a pod is made: claims of the templates are volumes only then
    errors += meta.label_errors(template["metadata"].get("labels"), "spec.template.labels")
    errors += meta.annotation_errors(template["metadata"].get("annotations"), "spec.template.annotations")
    return errors + _always(template["spec"], "StatefulSet")


def _stateful_strategy(strategy: Object, path: str) -> Errors:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        text = "only allowed for updateStrategy 'RollingUpdate'"
        return [] if rolling is None else [invalid(f"{path}.rollingUpdate", rolling, text)]
    if kind == "RollingUpdate":
        rolling = rolling or {}
        errors = not_negative(rolling, f"{path}.rollingUpdate", "partition")
        if "maxUnavailable" in rolling:
            where = f"{path}.rollingUpdate.maxUnavailable"
            errors += count_or_percent(rolling["maxUnavailable"], where)
            if is_zero(rolling["maxUnavailable"]):
                errors.append(invalid(where, rolling["maxUnavailable"], "cannot be 0"))
            errors += at_most_all(rolling["maxUnavailable"], where)
        return errors
    return [invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'") if kind else required(path)]


_STATEFUL_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip


def stateful_set_update(new: Object, old: Object) -> Errors:
    errors = stateful_set(new)
    after, before = new["spec"], old["spec"]
    if any(after.get(name) != before.get(name) for name in {**after, **before} if name not in _STATEFUL_MUTABLE):
        listed = ", ".join(f"'{name}'" for name in _STATEFUL_MUTABLE[:-1]) + f" and '{_STATEFUL_MUTABLE[-1]}'"
        errors.append(forbidden("spec", f"updates to statefulset spec for fields other than {listed} are forbidden"))
    return errors


def controller_revision(obj: Object) -> Errors:
    errors = [] if obj.get("data") is not None else [required("data", "data is mandatory")]
    return errors + not_negative(obj, "", "revision")


def controller_revision_update(new: Object, old: Object) -> Errors:
    return controller_revision(new) + immutable(new, old, "", "data")


def disruption_budget(obj: Object) -> Errors:
    spec = obj["spec"]
    errors: Errors = []
    if "minAvailable" in spec and "maxUnavailable" in spec:
        shown = internal.shown("policy.v1.PodDisruptionBudgetSpec", spec)
        errors.append(invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for name in ("minAvailable", "maxUnavailable"):
        if name in spec:
            errors += count_or_percent(spec[name], f"spec.{name}") + at_most_all(spec[name], f"spec.{name}")
    if "unhealthyPodEvictionPolicy" in spec:
        allowed = ("AlwaysAllow", "IfHealthyBudget")
        errors += one_of(spec["unhealthyPodEvictionPolicy"], "spec.unhealthyPodEvictionPolicy", allowed)
    return errors + selection.label_selector(spec.get("selector"), "spec.selector")
