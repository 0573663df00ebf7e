"""Whether an object may be stored: upstream's rules and words, kind by kind (pkg/apis/*/validation).

Every kind's metadata is checked; the kinds in `_CREATE` also have their own rules. Nothing here changes an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from groundplane.kinds.resources import Resource
from groundplane.kinds.validation import (
    access,
    cluster,
    core,
    jobs,
    meta,
    names,
    networking,
    pods,
    services,
    storage,
    workloads,
)
from groundplane.kinds.validation import warnings as warning
from groundplane.kinds.validation.errors import Errors, FieldError

__all__ = [
    "FieldError",
    "validate_create",
    "validate_status",
    "validate_update",
    "warnings",
]

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"

# Kinds whose names are not DNS subdomains.
_NAMES: dict[tuple[str, str], names.Check] = {
    ("", "namespaces"): names.label,
    ("", "services"): names.label_1035,
    (_RBAC, "roles"): names.path_segment,
    (_RBAC, "rolebindings"): names.path_segment,
    (_RBAC, "clusterroles"): names.path_segment,
    (_RBAC, "clusterrolebindings"): names.path_segment,
}

_NET, _STORAGE = "networking.k8s.io", "storage.k8s.io"

_CREATE: dict[tuple[str, str], Callable[[Object], Errors]] = {
    ("", "pods"): pods.create,
    ("", "podtemplates"): lambda obj: pods.template(obj["template"], "template"),
    ("", "replicationcontrollers"): workloads.replication_controller,
    ("apps", "deployments"): workloads.deployment,
    ("apps", "replicasets"): workloads.replica_set,
    ("apps", "daemonsets"): workloads.daemon_set,
    ("apps", "statefulsets"): workloads.stateful_set,
    ("apps", "controllerrevisions"): workloads.controller_revision,
    ("policy", "poddisruptionbudgets"): workloads.disruption_budget,
    ("batch", "jobs"): jobs.job,
    ("batch", "cronjobs"): jobs.cron_job,
    ("autoscaling", "horizontalpodautoscalers"): jobs.autoscaler,
    ("", "services"): services.service,
    ("", "endpoints"): services.endpoints,
    ("discovery.k8s.io", "endpointslices"): services.endpoint_slice,
    (_NET, "ingresses"): networking.ingress,
    (_NET, "ingressclasses"): networking.ingress_class,
    (_NET, "networkpolicies"): networking.network_policy,
    (_NET, "servicecidrs"): networking.service_cidr,
    (_NET, "ipaddresses"): networking.ip_address,
    ("", "configmaps"): core.config_map,
    ("", "secrets"): core.secret,
    ("", "namespaces"): core.namespace,
    ("", "serviceaccounts"): core.service_account,
    ("", "limitranges"): core.limit_range,
    ("", "resourcequotas"): core.resource_quota,
    ("", "events"): core.event,
    ("events.k8s.io", "events"): core.new_event,
    ("", "persistentvolumes"): storage.volume,
    ("", "persistentvolumeclaims"): storage.claim,
    (_STORAGE, "storageclasses"): storage.storage_class,
    (_RBAC, "roles"): access.role,
    (_RBAC, "clusterroles"): access.cluster_role,
    (_RBAC, "rolebindings"): access.role_binding,
    (_RBAC, "clusterrolebindings"): access.cluster_role_binding,
    ("", "nodes"): cluster.node,
    ("coordination.k8s.io", "leases"): cluster.lease,
    ("scheduling.k8s.io", "priorityclasses"): cluster.priority_class,
    ("node.k8s.io", "runtimeclasses"): cluster.runtime_class,
}
# Changes that have rules of their own; for other kinds those of a new object hold.
_UPDATE: dict[tuple[str, str], Callable[[Object, Object], Errors]] = {
    ("", "pods"): pods.update,
    ("apps", "deployments"): workloads.deployment_update,
    ("apps", "replicasets"): workloads.replica_set_update,
    ("apps", "daemonsets"): workloads.daemon_set_update,
    ("apps", "statefulsets"): workloads.stateful_set_update,
    ("apps", "controllerrevisions"): workloads.controller_revision_update,
    ("batch", "jobs"): jobs.job_update,
    ("", "services"): services.service_update,
    ("discovery.k8s.io", "endpointslices"): services.endpoint_slice_update,
    (_NET, "ingressclasses"): networking.ingress_class_update,
    (_NET, "servicecidrs"): networking.service_cidr_update,
    (_NET, "ipaddresses"): networking.ip_address_update,
    ("", "configmaps"): core.config_map_update,
    ("", "secrets"): core.secret_update,
    ("", "resourcequotas"): core.resource_quota_update,
    ("events.k8s.io", "events"): core.new_event_update,
    ("", "persistentvolumes"): storage.volume_update,
    ("", "persistentvolumeclaims"): storage.claim_update,
    (_STORAGE, "storageclasses"): storage.storage_class_update,
    (_RBAC, "rolebindings"): access.role_binding_update,
    (_RBAC, "clusterrolebindings"): access.cluster_role_binding_update,
    ("", "nodes"): cluster.node_update,
    ("scheduling.k8s.io", "priorityclasses"): cluster.priority_class_update,
    ("node.k8s.io", "runtimeclasses"): cluster.runtime_class_update,
}
_STATUS: dict[tuple[str, str], Callable[[Object, Object], Errors]] = {
    ("", "pods"): pods.status,
    ("", "nodes"): cluster.node_status,
    ("apps", "deployments"): workloads.counted_status,
    ("apps", "replicasets"): workloads.counted_status,
    ("", "replicationcontrollers"): workloads.counted_status,
}

_WARNINGS: dict[tuple[str, str], Callable[[Object], Iterable[str]]] = {
    ("", "pods"): warning.pod,
    ("", "services"): warning.service,
    **{("apps", plural): warning.template for plural in ("deployments", "replicasets", "daemonsets", "statefulsets")},
    ("batch", "jobs"): warning.template,
}


def validate_create(resource: Resource, obj: Object) -> Errors:
    """Complaints about a new object, decoded, completed and prepared."""
    key = (resource.group, resource.plural)
    errors = meta.validate(obj["metadata"], _NAMES.get(key, names.subdomain), namespaced=resource.namespaced)
    if own := _CREATE.get(key):
        errors += own(obj)
    return errors


def validate_update(resource: Resource, new: Object, old: Object) -> Errors:
    """Complaints about a changed object."""
    key = (resource.group, resource.plural)
    errors = meta.validate_update(new["metadata"], old["metadata"])
    if own := _UPDATE.get(key):
        errors += own(new, old)
    elif created := _CREATE.get(key):
        errors += created(new)
    return errors


def validate_status(resource: Resource, new: Object, old: Object) -> Errors:
    """Complaints about a changed status."""
    errors = meta.validate_update(new["metadata"], old["metadata"])
    if own := _STATUS.get((resource.group, resource.plural)):
        errors += own(new, old)
    return errors


def warnings(resource: Resource, obj: Object, old: Object | None) -> list[str]:
    """What the answer's Warning headers say of an object that passed; of an update only where its spec changed."""
    found = list(warning.finalizers(obj, old))
    check = _WARNINGS.get((resource.group, resource.plural))
    if check is not None and (old is None or obj.get("spec") != old.get("spec")):
        found += check(obj)
    return found
