"""Server-side printing: the Table that `kubectl get` shows (pkg/printers/internalversion/printers.go).

    columns, rows = table(resource, objects, now)

`columns` are columnDefinitions, a row is the list of an object's cells; the caller adds each row's `object` and its
`conditions(resource, obj)`. Kinds without a printer of their own show their name and creation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from groundplane.kinds import pack
from groundplane.kinds.resources import Resource
from groundplane.kinds.tables import cluster, core, extensions, networking, pods, workloads
from groundplane.kinds.tables.cells import created

Object = dict[str, Any]
Cells = list[Any]
Printer = Callable[[Object, float], Cells]
Table = tuple[list[Object], list[Cells]]

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"

_PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "pods"): pods.cells,
    ("", "podtemplates"): workloads.pod_template,
    ("", "replicationcontrollers"): workloads.replication_controller,
    ("apps", "replicasets"): workloads.replica_set,
    ("apps", "deployments"): workloads.deployment,
    ("apps", "daemonsets"): workloads.daemon_set,
    ("apps", "statefulsets"): workloads.stateful_set,
    ("apps", "controllerrevisions"): workloads.controller_revision,
    ("batch", "jobs"): workloads.job,
    ("batch", "cronjobs"): workloads.cron_job,
    ("autoscaling", "horizontalpodautoscalers"): workloads.autoscaler,
    ("policy", "poddisruptionbudgets"): workloads.disruption_budget,
    ("", "configmaps"): core.config_map,
    ("", "secrets"): core.secret,
    ("", "serviceaccounts"): core.only_age,
    ("", "namespaces"): core.namespace,
    ("", "events"): core.event,
    ("events.k8s.io", "events"): core.new_event,
    ("", "resourcequotas"): core.resource_quota,
    ("", "persistentvolumes"): core.volume,
    ("", "persistentvolumeclaims"): core.claim,
    ("", "nodes"): cluster.node,
    ("", "componentstatuses"): cluster.component_status,
    ("coordination.k8s.io", "leases"): cluster.lease,
    ("node.k8s.io", "runtimeclasses"): cluster.runtime_class,
    ("scheduling.k8s.io", "priorityclasses"): cluster.priority_class,
    ("storage.k8s.io", "storageclasses"): cluster.storage_class,
    ("storage.k8s.io", "csidrivers"): cluster.csi_driver,
    ("storage.k8s.io", "csinodes"): cluster.csi_node,
    ("storage.k8s.io", "volumeattachments"): cluster.volume_attachment,
    ("storage.k8s.io", "volumeattributesclasses"): cluster.volume_attributes_class,
    (_RBAC, "rolebindings"): cluster.role_binding,
    (_RBAC, "clusterrolebindings"): cluster.role_binding,
    ("certificates.k8s.io", "certificatesigningrequests"): cluster.signing_request,
    ("", "services"): networking.service,
    ("", "endpoints"): networking.endpoints,
    ("discovery.k8s.io", "endpointslices"): networking.endpoint_slice,
    ("networking.k8s.io", "ingresses"): networking.ingress,
    ("networking.k8s.io", "ingressclasses"): networking.ingress_class,
    ("networking.k8s.io", "networkpolicies"): networking.network_policy,
    ("networking.k8s.io", "servicecidrs"): networking.service_cidr,
    ("networking.k8s.io", "ipaddresses"): networking.ip_address,
    ("apiregistration.k8s.io", "apiservices"): extensions.api_service,
    (_ADMISSION, "validatingwebhookconfigurations"): extensions.webhooks,
    (_ADMISSION, "mutatingwebhookconfigurations"): extensions.webhooks,
    (_ADMISSION, "validatingadmissionpolicies"): extensions.validating_policy,
    (_ADMISSION, "mutatingadmissionpolicies"): extensions.mutating_policy,
    (_ADMISSION, "validatingadmissionpolicybindings"): extensions.policy_binding,
    (_ADMISSION, "mutatingadmissionpolicybindings"): extensions.policy_binding,
    (_FLOW, "flowschemas"): extensions.flow_schema,
    (_FLOW, "prioritylevelconfigurations"): extensions.priority_level,
    ("resource.k8s.io", "deviceclasses"): core.only_age,
    ("resource.k8s.io", "resourceclaimtemplates"): core.only_age,
    ("resource.k8s.io", "resourceclaims"): extensions.resource_claim,
    ("resource.k8s.io", "resourceslices"): extensions.resource_slice,
}

# What the rest of a kind's table looks like that has no printer.
_DEFAULT_COLUMNS = [["Name", "string", "name", 0], ["Created At", "date", "", 0]]

_SCALE_COLUMNS = [
    ["Name", "string", "name", 0],
    ["Desired", "integer", "", 0],
    ["Available", "integer", "", 0],
    ["Age", "string", "", 0],
]


def table(resource: Resource, items: Sequence[Object], now: float) -> Table:
    """The column definitions, and the cells of each object; `now` is seconds since the epoch."""
    printer = _PRINTERS.get((resource.group, resource.plural), _default)
    return columns(resource), [printer(obj, now) for obj in items]


def conditions(resource: Resource, obj: Object) -> list[Object]:
    """A row's `conditions`: finished pods say that they are, so that clients may leave them out."""
    return pods.row_conditions(obj) if (resource.group, resource.plural) == ("", "pods") else []


def columns(resource: Resource) -> list[Object]:
    """The resource's columnDefinitions."""
    return _definitions(_columns().get((resource.group, resource.version, resource.plural), _DEFAULT_COLUMNS))


def scale(items: Sequence[Object], now: float) -> Table:
    """Scales, which are a subresource of several resources and none of their own."""
    return _definitions(_SCALE_COLUMNS), [workloads.scale(obj, now) for obj in items]


def _definitions(rows: list[list[Any]]) -> list[Object]:
    return [
        {"name": name, "type": kind, "format": form, "description": "", "priority": priority}
        for name, kind, form, priority in rows
    ]


@cache
def _columns() -> dict[tuple[str, str, str], list[list[Any]]]:
    return {(group, version, plural): cells for group, version, plural, cells in pack.rows("columns")}


def _default(obj: Object, now: float) -> Cells:
    return [obj["metadata"].get("name", ""), created(obj)]
