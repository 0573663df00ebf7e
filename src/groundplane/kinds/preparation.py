"""The steps of strategies that are one kind's own: what only the server may set, and what an update may leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groundplane.kinds import pods, services

Object = dict[str, Any]
OnCreate = Callable[[Object, str], None]
OnUpdate = Callable[[Object, Object, str], None]


# ── what every update does ───────────────────────────────────────────────────────────────────────────────────────────


def carry_over(new: Object, old: Object) -> None:
    """Metadata that a client may leave out and cannot change (rest.BeforeUpdate, ValidateObjectMetaUpdate)."""
    for name in ("namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if name in old and not new.get(name):
            new[name] = old[name]
    keep(new, old, "generation")


def keep(new: Object, old: Object, name: str) -> None:
    """The old value, or its absence."""
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def next_generation(new: Object, old: Object) -> None:
    new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


# ── kinds of their own ───────────────────────────────────────────────────────────────────────────────────────────────


def _namespace_create(obj: Object, now: str) -> None:
    obj["status"] = {"phase": "Active"}
    finalizers = obj["spec"].setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def _namespace_update(new: Object, old: Object, now: str) -> None:
    keep(new["spec"], old["spec"], "finalizers")


def _pod_create(obj: Object, now: str) -> None:
    obj["status"] = {"phase": "Pending", "qosClass": pods.qos_class(obj)}
    if obj["spec"].get("schedulingGates"):
        gated = "Scheduling is blocked due to non-empty scheduling gates"
        condition = {
            "type": "PodScheduled", "status": "False", "lastProbeTime": None, "lastTransitionTime": None,
            "reason": "SchedulingGated", "message": gated,
        }  # fmt: skip
        obj["status"]["conditions"] = [condition]
    pods.apply_label_keys(obj)


def _pod_update(new: Object, old: Object, now: str) -> None:
    # the last gate gone, the condition goes too (podStrategy.PrepareForUpdate)
    if old["spec"].get("schedulingGates") and not new["spec"].get("schedulingGates"):
        status = dict(new["status"])
        kept = [c for c in status.get("conditions") or () if c.get("reason") != "SchedulingGated"]
        if kept:
            status["conditions"] = kept
        else:
            status.pop("conditions", None)
        new["status"] = status


def _pod_status(new: Object, old: Object, now: str) -> None:
    # status changes cannot delete, disown or reclassify a pod (podStatusStrategy)
    keep(new["metadata"], old["metadata"], "deletionTimestamp")
    keep(new["metadata"], old["metadata"], "ownerReferences")
    if old["status"].get("qosClass") and not new["status"].get("qosClass"):
        new["status"]["qosClass"] = old["status"]["qosClass"]


def _service_create(obj: Object, now: str) -> None:
    services.normalize_cluster_ips(obj["spec"], None)


def _service_update(new: Object, old: Object, now: str) -> None:
    services.normalize_cluster_ips(new["spec"], old["spec"])
    services.carry_allocated(new["spec"], old["spec"])
    services.drop_by_type(new["spec"], old["spec"])


_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _daemon_set_create(obj: Object, now: str) -> None:
    # apps/v1 shows the internal templateGeneration as this annotation
    obj["metadata"].setdefault("annotations", {})[_TEMPLATE_GENERATION] = "1"


def _daemon_set_update(new: Object, old: Object, now: str) -> None:
    previous = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION)
    if previous is None or not previous.isdigit():
        return
    changed = new["spec"]["template"] != old["spec"]["template"]
    annotations = new["metadata"].setdefault("annotations", {})
    annotations[_TEMPLATE_GENERATION] = str(int(previous) + changed)


def _deployment_update(new: Object, old: Object, now: str) -> None:
    # annotations are part of a Deployment's desired state: the controller copies them to its ReplicaSets
    if new["metadata"].get("annotations") != old["metadata"].get("annotations"):
        next_generation(new, old)


def _job_create(obj: Object, now: str) -> None:
    """Unless the author chose a selector, the server makes one that no other Job can have (generateSelector)."""
    spec, uid, name = obj["spec"], obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
    if spec.get("manualSelector"):
        return
    labels = spec["template"]["metadata"].setdefault("labels", {})
    prefix = "batch.kubernetes.io/"
    for key, value in (("controller-uid", uid), ("job-name", name)):
        labels[key] = labels[prefix + key] = value
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {})[f"{prefix}controller-uid"] = uid


def _volume_create(obj: Object, now: str) -> None:
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": now}


def _volume_status(new: Object, old: Object, now: str) -> None:
    if new["status"].get("phase") != old["status"].get("phase"):
        new["status"]["lastPhaseTransitionTime"] = now


def _claim_create(obj: Object, now: str) -> None:
    obj["status"] = {"phase": "Pending"}
    _both_data_sources(obj["spec"])


def _signing_update(new: Object, old: Object, now: str) -> None:
    """What was asked for, and by whom, stays; silently, as upstream's strategy has it."""
    keep(new, old, "spec")


def _claim_update(new: Object, old: Object, now: str) -> None:
    _both_data_sources(new["spec"])


def _both_data_sources(spec: Object) -> None:
    """A claim's dataSource and dataSourceRef mean the same; each fills in for the other."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        core = not reference.get("apiGroup") and reference.get("kind") == "PersistentVolumeClaim"
        if core or reference.get("apiGroup") == "snapshot.storage.k8s.io":
            spec["dataSource"] = dict(reference)


def _service_account_create(obj: Object, now: str) -> None:
    if obj.get("secrets"):
        kept = [{"name": one["name"]} for one in obj.pop("secrets") if one.get("name")]
        if kept:
            obj["secrets"] = kept


def _definition_create(obj: Object, now: str) -> None:
    stored = [version["name"] for version in obj["spec"].get("versions") or () if version.get("storage")]
    obj["status"]["storedVersions"] = stored


STEPS: dict[tuple[str, str], tuple[OnCreate | None, OnUpdate | None, OnUpdate | None]] = {
    ("", "namespaces"): (_namespace_create, _namespace_update, None),
    ("", "pods"): (_pod_create, _pod_update, _pod_status),
    ("", "services"): (_service_create, _service_update, None),
    ("", "persistentvolumes"): (_volume_create, None, _volume_status),
    ("", "persistentvolumeclaims"): (_claim_create, _claim_update, None),
    ("", "serviceaccounts"): (_service_account_create, None, None),
    ("apps", "daemonsets"): (_daemon_set_create, _daemon_set_update, None),
    ("apps", "deployments"): (None, _deployment_update, None),
    ("batch", "jobs"): (_job_create, None, None),
    ("certificates.k8s.io", "certificatesigningrequests"): (None, _signing_update, None),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (_definition_create, None, None),
}

# Metadata that the status endpoint of a kind does not change either, and how server-side apply names it.
STATUS_KEEPS: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "deployments"): ("labels",),
}
STATUS_RESETS: dict[tuple[str, str], Object] = {
    ("apps", "deployments"): {"f:metadata": {"f:labels": {}}},
    ("", "pods"): {"f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}},
}
