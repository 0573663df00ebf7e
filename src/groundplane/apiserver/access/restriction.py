"""NodeRestriction: what a node may write of what it may reach (kubernetes/plugin/pkg/admission/noderestriction).

Pure: the admission plugin of the same name asks `refuse` and turns the sentence into a 403.
"""

from __future__ import annotations

from dataclasses import dataclass

from groundplane.apiserver.access.contract import Object, Objects, User
from groundplane.apiserver.access.node import MIRROR, references

# k8s.io/kubelet/pkg/apis/well_known_labels.go: labels of these domains that a kubelet may set on its own Node.
_KUBELET_LABELS = {
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
}
_KUBELET_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")


@dataclass(frozen=True, slots=True)
class NodeWrite:
    """A write by a node. `operation` is create, update or delete; `resource` the plural with its group if any."""

    operation: str
    resource: str
    subresource: str
    namespace: str
    name: str
    new: Object | None
    old: Object | None


def refuse(user: User, write: NodeWrite, objects: Objects) -> str:
    """Why a node's write is forbidden; empty where it is not, or where `user` is no node."""
    node = user.node
    if not node:
        return ""
    if write.resource == "pods":
        return _pod(node, write, objects)
    if write.resource == "nodes":
        return _node(node, write)
    if write.resource == "serviceaccounts" and write.subresource == "token":
        return _token(node, write, objects)
    if write.resource == "coordination.k8s.io/leases":
        return _lease(node, write)
    return ""


def _pod(node: str, write: NodeWrite, objects: Objects) -> str:
    if write.subresource == "":
        if write.operation == "create":
            return _mirror(node, write.new or {}, objects)
        if write.operation == "delete":
            return _elsewhere(node, write, "delete pods", objects)
        return f'unexpected operation "{write.operation.upper()}", node "{node}" can only create and delete mirror pods'
    if write.subresource == "status":
        if why := _elsewhere(node, write, "update pod status for pods", objects):
            return why
        before, after = ((o or {}).get("metadata") or {} for o in (write.old, write.new))
        if (before.get("labels") or {}) != (after.get("labels") or {}):
            return f'node "{node}" cannot update labels through pod status'
        return ""
    if write.subresource == "eviction":
        return _elsewhere(node, write, "evict pods", objects).replace(f'"{node}"', node)  # upstream: %s, not %q
    return f"unexpected pod subresource \"{write.subresource}\", only 'status' and 'eviction' are allowed"


def _elsewhere(node: str, write: NodeWrite, action: str, objects: Objects) -> str:
    pod = write.old or objects.get("pods", write.namespace, write.name) or {}
    if (pod.get("spec") or {}).get("nodeName") == node:
        return ""
    return f'node "{node}" can only {action} with spec.nodeName set to itself'


def _mirror(node: str, pod: Object, objects: Objects) -> str:
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if MIRROR not in (meta.get("annotations") or {}):
        return f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
    if spec.get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    if why := _owner(node, meta.get("ownerReferences") or [], objects):
        return why
    named = {resource for resource, _, _ in references(spec, "", "")}
    for resource, what in (
        ("serviceaccounts", "a service account"),
        ("secrets", "secrets"),
        ("configmaps", "configmaps"),
        ("persistentvolumeclaims", "persistentvolumeclaims"),
    ):
        if resource in named:
            return f'node "{node}" can not create pods that reference {what}'
    return ""


def _owner(node: str, owners: list[Object], objects: Objects) -> str:
    """A mirror pod belongs to its Node and to nobody else."""
    if len(owners) > 1:
        return f'node "{node}" can only create pods with a single owner reference set to itself'
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        return f'node "{node}" can only create pods with an owner reference set to itself'
    if not owner.get("controller"):
        return f'node "{node}" can only create pods with a controller owner reference set to itself'
    if owner.get("blockOwnerDeletion"):
        return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
    uid = ((objects.get("nodes", "", node) or {}).get("metadata") or {}).get("uid")
    if owner.get("uid") != uid:
        return f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}"
    return ""


def _node(node: str, write: NodeWrite) -> str:
    name = write.name or ((write.new or {}).get("metadata") or {}).get("name")
    if name != node:
        return f'node "{node}" is not allowed to modify node "{name}"'
    if write.operation == "delete":
        return ""
    new, old = write.new or {}, write.old or {}
    if write.operation == "update" and (new.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
        return f'node "{node}" is not allowed to modify taints'
    before, after = ((o.get("metadata") or {}).get("labels") or {} for o in (old, new))
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    if refused := [k for k in changed if not _may_set(k)]:
        if write.operation == "create":
            return f'node "{node}" is not allowed to set the following labels: {", ".join(refused)}'
        return f"is not allowed to modify labels: {', '.join(refused)}"
    return ""


def _may_set(label: str) -> bool:
    domain, slash, _ = label.partition("/")
    if not slash:
        return True
    if domain == "node-restriction.kubernetes.io" or domain.endswith(".node-restriction.kubernetes.io"):
        return False
    ours = any(domain == d or domain.endswith("." + d) for d in ("kubernetes.io", "k8s.io"))
    kubelets = any(domain == d or domain.endswith("." + d) for d in _KUBELET_NAMESPACES)
    return not ours or kubelets or label in _KUBELET_LABELS


def _token(node: str, write: NodeWrite, objects: Objects) -> str:
    ref = ((write.new or {}).get("spec") or {}).get("boundObjectRef") or {}
    if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
        return "node requested token not bound to a pod"
    if not ref.get("uid"):
        return "node requested token with a pod binding without a uid"
    pod = objects.get("pods", write.namespace, ref["name"])
    if pod is None:
        return f'pod "{ref["name"]}" not found'
    if pod["metadata"].get("uid") != ref["uid"]:
        return (
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
    if (pod.get("spec") or {}).get("nodeName") != node:
        return "node requested token bound to a pod scheduled on a different node"
    return ""


def _lease(node: str, write: NodeWrite) -> str:
    if write.namespace != "kube-node-lease":
        return 'can only access leases in the "kube-node-lease" system namespace'
    if (write.name or ((write.new or {}).get("metadata") or {}).get("name")) != node:
        return "can only access node lease with the same name as the requesting node"
    return ""
