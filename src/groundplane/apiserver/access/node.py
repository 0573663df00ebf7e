"""The Node authorizer: a node reads what its own pods need, and nothing of another node's.

After kubernetes/plugin/pkg/auth/authorizer/node. Upstream keeps a graph node ◄─ pod ◄─ secret, config map, claim,
service account; here the same relation is a count per (node, resource, namespace, name), kept as pods come and go.

Not here: volumes reached through claims (PersistentVolumes and their secrets, VolumeAttachments), resource claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from groundplane.apiserver.access.contract import (
    NO_OPINION,
    Attributes,
    Decision,
    Object,
    PolicyRule,
    User,
    Verdict,
)
from groundplane.apiserver.access.rbac import allows

_ALLOWED = Verdict(Decision.ALLOW)
_READS = ("get", "list", "watch")
_LEASES = "kube-node-lease"
MIRROR = "kubernetes.io/config.mirror"

_Thing = tuple[str, str, str]  # resource, namespace, name


class NodeAuthorizer:
    """`rules` are those of the role system:node: what every node may do beside its own objects."""

    def __init__(self, rules: Iterable[PolicyRule]) -> None:
        self._rules = tuple(rules)
        self._pods: dict[tuple[str, str], tuple[str, frozenset[_Thing]]] = {}
        self._needed: dict[str, Counter[_Thing]] = {}

    def put_pod(self, pod: Object) -> None:
        """A pod, new or changed."""
        meta = pod["metadata"]
        place = (meta["namespace"], meta["name"])
        node = (pod.get("spec") or {}).get("nodeName") or ""
        now = (node, frozenset(_things(pod))) if node else None
        before = self._pods.get(place)
        if now == before:
            return
        if before is not None:
            self._forget(place)
        if now is not None:
            self._pods[place] = now
            self._needed.setdefault(node, Counter()).update(now[1])

    def remove_pod(self, namespace: str, name: str) -> None:
        """A pod that is gone."""
        if (namespace, name) in self._pods:
            self._forget((namespace, name))

    def _forget(self, place: tuple[str, str]) -> None:
        node, things = self._pods.pop(place)
        needed = self._needed[node]
        for thing in things:
            needed[thing] -= 1
            if not needed[thing]:
                del needed[thing]
        if not needed:
            del self._needed[node]

    def authorize(self, attributes: Attributes) -> Verdict:
        node = attributes.user.node
        if not node:
            return NO_OPINION
        if attributes.is_resource and (special := _SPECIAL.get((attributes.group, attributes.resource))):
            return special(self, node, attributes)
        return _ALLOWED if any(allows(rule, attributes) for rule in self._rules) else NO_OPINION

    def rules_for(self, user: User) -> str:
        """What a rules review cannot know: empty, or the sentence that says so."""
        return "node authorizer does not support user rule resolution" if user.node else ""

    def _related(self, node: str, attributes: Attributes) -> Verdict:
        if not attributes.name:
            return _no("No Object name found")
        thing = (attributes.resource, attributes.namespace, attributes.name)
        if self._needed.get(node, Counter())[thing]:
            return _ALLOWED
        return _no(f"no relationship found between node '{node}' and this object")

    def _read_related(self, node: str, attributes: Attributes) -> Verdict:
        """Secrets, config maps: reading by name."""
        if attributes.verb not in _READS or attributes.subresource:
            return _no("can only read resources of this type")
        if not attributes.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, attributes)

    def _claims(self, node: str, attributes: Attributes) -> Verdict:
        if attributes.subresource == "status" and attributes.verb in ("update", "patch"):
            return self._related(node, attributes)
        if attributes.verb != "get" or attributes.subresource:
            return _no("can only get individual resources of this type")
        return self._related(node, attributes)

    def _accounts(self, node: str, attributes: Attributes) -> Verdict:
        if attributes.subresource == "token" and attributes.verb == "create":
            return self._related(node, attributes)
        if not attributes.subresource and attributes.verb == "get":
            return self._related(node, attributes)
        return _no("can only create tokens for individual service accounts")

    def _pods_of(self, node: str, attributes: Attributes) -> Verdict:
        if attributes.subresource == "status":
            return _ALLOWED if attributes.verb in ("update", "patch") else self._plain(attributes)
        if attributes.subresource:
            return self._plain(attributes)
        if attributes.verb == "get":
            return self._related(node, attributes)
        if attributes.verb in ("list", "watch"):
            if ("spec.nodeName", "=", node) in attributes.fields:
                return _ALLOWED
            if attributes.name:  # one pod, by metadata.name
                return self._related(node, attributes)
            return _no("can only list/watch pods with spec.nodeName field selector")
        return self._plain(attributes)

    def _nodes(self, node: str, attributes: Attributes) -> Verdict:
        if attributes.verb in _READS and not attributes.subresource:
            if attributes.name == node:
                return _ALLOWED
            if attributes.name:
                return _no(f"node '{node}' cannot read '{attributes.name}', only its own Node object")
            return _no(f"node '{node}' cannot read all nodes, only its own Node object")
        return self._plain(attributes)  # writing: NodeRestriction keeps it to its own object

    def _leases(self, node: str, attributes: Attributes) -> Verdict:
        verbs = ("get", "create", "update", "patch", "delete")
        if attributes.verb not in verbs or attributes.subresource:
            return _no("can only get, create, update, patch, or delete a node lease")
        if attributes.namespace != _LEASES:
            return _no(f'can only access leases in the "{_LEASES}" system namespace')
        if attributes.verb != "create" and attributes.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return _ALLOWED

    def _csi_nodes(self, node: str, attributes: Attributes) -> Verdict:
        if attributes.subresource:
            return _no("can only get, create, update, patch, or delete a CSINode")
        if attributes.verb != "create" and attributes.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return self._plain(attributes)

    def _plain(self, attributes: Attributes) -> Verdict:
        return _ALLOWED if any(allows(rule, attributes) for rule in self._rules) else NO_OPINION


_SPECIAL = {
    ("", "secrets"): NodeAuthorizer._read_related,
    ("", "configmaps"): NodeAuthorizer._read_related,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claims,
    ("", "serviceaccounts"): NodeAuthorizer._accounts,
    ("", "pods"): NodeAuthorizer._pods_of,
    ("", "nodes"): NodeAuthorizer._nodes,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._leases,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_nodes,
}


def _no(reason: str) -> Verdict:
    return Verdict(Decision.NO_OPINION, reason)


def _things(pod: Object) -> Iterator[_Thing]:
    """The pod itself, and what it names."""
    meta, spec = pod["metadata"], pod["spec"]
    namespace = meta["namespace"]
    yield ("pods", namespace, meta["name"])
    if MIRROR not in (meta.get("annotations") or {}):  # a node makes those itself, and could name any secret in one
        yield from references(spec, namespace, meta["name"])


def references(spec: Object, namespace: str, pod: str) -> Iterator[_Thing]:
    """What a pod's spec names: service account, secrets, config maps, claims (podutils.VisitPodSecretNames …)."""
    if account := spec.get("serviceAccountName"):
        yield ("serviceaccounts", namespace, account)
    for secret in spec.get("imagePullSecrets") or ():
        yield ("secrets", namespace, secret.get("name") or "")
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            yield from _of_container(container, namespace)
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume, namespace, pod)


def _of_container(container: Object, namespace: str) -> Iterator[_Thing]:
    for source in container.get("envFrom") or ():
        for key, resource in (("secretRef", "secrets"), ("configMapRef", "configmaps")):
            if ref := source.get(key):
                yield (resource, namespace, ref.get("name") or "")
    for variable in container.get("env") or ():
        origin = variable.get("valueFrom") or {}
        for key, resource in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
            if ref := origin.get(key):
                yield (resource, namespace, ref.get("name") or "")


def _of_volume(volume: Object, namespace: str, pod: str) -> Iterator[_Thing]:
    if source := volume.get("secret"):
        yield ("secrets", namespace, source.get("secretName") or "")
    if source := volume.get("configMap"):
        yield ("configmaps", namespace, source.get("name") or "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        for key, resource in (("secret", "secrets"), ("configMap", "configmaps")):
            if ref := source.get(key):
                yield (resource, namespace, ref.get("name") or "")
    if source := volume.get("persistentVolumeClaim"):
        yield ("persistentvolumeclaims", namespace, source.get("claimName") or "")
    if "ephemeral" in volume:  # the claim that the ephemeral-volume controller makes
        yield ("persistentvolumeclaims", namespace, f"{pod}-{volume['name']}")
    for driver, key in (
        ("csi", "nodePublishSecretRef"),
        ("cephfs", "secretRef"),
        ("flexVolume", "secretRef"),
        ("iscsi", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
        ("storageos", "secretRef"),
    ):
        if ref := (volume.get(driver) or {}).get(key):
            yield ("secrets", namespace, ref.get("name") or "")
