"""What upstream 1.36 fills in where the author said nothing, kind by kind.

`apply` owns the object it is given: it was built by the decoder for this request, and is completed in place. Besides
defaults proper (pkg/apis/*/v1/defaults.go) it does what upstream's conversion does on the way in: `stringData` becomes
`data`, `serviceAccount` follows `serviceAccountName`, claims inside a StatefulSet get their kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groundplane.kinds.defaults import admission, apps, autoscaling, batch, core, networking, others, pods, storage
from groundplane.kinds.resources import Resource

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"

_REGISTRY: dict[tuple[str, str], Callable[[Object], None]] = {
    ("", "Pod"): pods.pod,
    ("", "PodTemplate"): lambda obj: pods.template(obj["template"]),
    ("", "ReplicationController"): core.replication_controller,
    ("", "Service"): core.service,
    ("", "Secret"): core.secret,
    ("", "Namespace"): core.namespace,
    ("", "Node"): core.node,
    ("", "Endpoints"): core.endpoints,
    ("", "LimitRange"): core.limit_range,
    ("", "ResourceQuota"): core.resource_quota,
    ("", "PersistentVolume"): storage.volume,
    ("", "PersistentVolumeClaim"): storage.claim,
    ("apps", "Deployment"): apps.deployment,
    ("apps", "ReplicaSet"): apps.replica_set,
    ("apps", "DaemonSet"): apps.daemon_set,
    ("apps", "StatefulSet"): apps.stateful_set,
    ("batch", "Job"): batch.job,
    ("batch", "CronJob"): batch.cron_job,
    ("networking.k8s.io", "NetworkPolicy"): networking.network_policy,
    ("networking.k8s.io", "IngressClass"): networking.ingress_class,
    ("discovery.k8s.io", "EndpointSlice"): networking.endpoint_slice,
    ("storage.k8s.io", "StorageClass"): storage.storage_class,
    ("storage.k8s.io", "CSIDriver"): storage.csi_driver,
    ("storage.k8s.io", "VolumeAttachment"): storage.volume_attachment,
    (_RBAC, "RoleBinding"): others.role_binding,
    (_RBAC, "ClusterRoleBinding"): others.role_binding,
    ("scheduling.k8s.io", "PriorityClass"): others.priority_class,
    (_FLOW, "FlowSchema"): others.flow_schema,
    (_FLOW, "PriorityLevelConfiguration"): others.priority_level,
    ("authentication.k8s.io", "TokenRequest"): others.token_request,
    ("apiregistration.k8s.io", "APIService"): others.api_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): others.custom_resource_definition,
    ("resource.k8s.io", "ResourceClaim"): others.resource_claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): lambda obj: others.resource_claim(obj["spec"]),
    (_ADMISSION, "ValidatingWebhookConfiguration"): admission.validating_webhooks,
    (_ADMISSION, "MutatingWebhookConfiguration"): admission.mutating_webhooks,
    (_ADMISSION, "ValidatingAdmissionPolicy"): admission.policy,
    (_ADMISSION, "MutatingAdmissionPolicy"): admission.policy,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): admission.binding,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): admission.binding,
}


def apply(resource: Resource, obj: Object) -> Object:
    """`obj`, a decoded object of `resource`'s kind, completed in place."""
    return apply_kind(resource.group, resource.version, resource.kind, obj)


def apply_kind(group: str, version: str, kind: str, obj: Object) -> Object:
    """The same for a kind that may be a subresource's (TokenRequest, Scale)."""
    if group == "autoscaling" and kind == "HorizontalPodAutoscaler":
        autoscaling.autoscaler(version, obj)
    elif work := _REGISTRY.get((group, kind)):
        work(obj)
    return obj
