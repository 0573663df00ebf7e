"""A node sees what its pods need, and writes only what is its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes.objects import FakeObjects, rule

from groundplane.apiserver.access.contract import Attributes, PolicyRule, User
from groundplane.apiserver.access.node import NodeAuthorizer
from groundplane.apiserver.access.restriction import NodeWrite, refuse

Object = dict[str, Any]
NODE = User("system:node:one", groups=("system:nodes", "system:authenticated"))
OTHER = User("system:node:two", groups=("system:nodes", "system:authenticated"))
LEASES = "coordination.k8s.io"


def pod(name: str = "web", node: str = "one", **spec: Any) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "uid": f"uid-of-{name}"},
        "spec": {"nodeName": node, "serviceAccountName": "robot", "containers": [], **spec},
    }


BUSY = pod(
    imagePullSecrets=[{"name": "pull"}],
    initContainers=[{"envFrom": [{"secretRef": {"name": "init-env"}}]}],
    containers=[
        {
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map-key"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "map-env"}}],
        }
    ],
    volumes=[
        {"name": "s", "secret": {"secretName": "volume"}},
        {"name": "c", "configMap": {"name": "map-volume"}},
        {"name": "p", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
        {"name": "q", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "e", "ephemeral": {}},
        {"name": "i", "csi": {"nodePublishSecretRef": {"name": "publish"}}},
    ],
)


def authorizer(*pods: Object) -> NodeAuthorizer:
    made = NodeAuthorizer(
        [PolicyRule.read(rule("create update patch get", "nodes nodes/status pods pods/status events"))]
    )
    for one in pods:
        made.put_pod(one)
    return made


def ask(
    user: User, verb: str, resource: str, name: str = "", namespace: str = "n", group: str = "", node_name: str = ""
) -> Attributes:
    resource, _, subresource = resource.partition("/")
    fields = (("spec.nodeName", "=", node_name),) if node_name else ()
    return Attributes(user, verb, group, "v1", resource, subresource, namespace, name, fields=fields)


@pytest.mark.parametrize(
    ("resource", "names"),
    [
        ("secrets", ["pull", "init-env", "key", "volume", "publish"]),
        ("configmaps", ["map-key", "map-env", "map-volume", "kube-root-ca.crt"]),
        ("persistentvolumeclaims", ["data", "web-e"]),
        ("serviceaccounts", ["robot"]),
    ],
)
def test_what_a_pod_names_its_node_may_read(resource: str, names: list[str]) -> None:
    check = authorizer(BUSY)
    for name in names:
        assert check.authorize(ask(NODE, "get", resource, name)).allowed, name
        refused = check.authorize(ask(OTHER, "get", resource, name))
        assert refused.reason == "no relationship found between node 'two' and this object"
    assert not check.authorize(ask(NODE, "get", resource, "another")).allowed
    assert not check.authorize(ask(NODE, "get", resource, names[0], namespace="m")).allowed
    assert check.authorize(ask(NODE, "list", resource)).reason


def test_the_relation_ends_with_the_last_pod() -> None:
    question = ask(NODE, "get", "secrets", "pull")
    check = authorizer(BUSY, pod("second", imagePullSecrets=[{"name": "pull"}]))
    check.remove_pod("n", "web")
    assert check.authorize(question).allowed
    check.put_pod(pod("second"))
    assert not check.authorize(question).allowed
    check.put_pod(pod("second", imagePullSecrets=[{"name": "pull"}]))
    check.put_pod(pod("second", node="two", imagePullSecrets=[{"name": "pull"}]))
    assert not check.authorize(question).allowed
    assert check.authorize(ask(OTHER, "get", "secrets", "pull")).allowed
    check.remove_pod("n", "second")
    check.remove_pod("n", "second")
    assert not check.authorize(ask(OTHER, "get", "secrets", "pull")).allowed


def test_a_mirror_pod_opens_nothing() -> None:
    mirror = pod("static", imagePullSecrets=[{"name": "pull"}])
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    check = authorizer(mirror)
    assert not check.authorize(ask(NODE, "get", "secrets", "pull")).allowed
    assert check.authorize(ask(NODE, "get", "pods", "static")).allowed


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        (ask(NODE, "list", "pods", node_name="one", namespace=""), True),
        (ask(NODE, "watch", "pods", node_name="two", namespace=""), False),
        (ask(NODE, "list", "pods", namespace=""), False),
        (ask(NODE, "get", "pods", "web"), True),
        (ask(OTHER, "get", "pods", "web"), False),
        (ask(NODE, "update", "pods/status", "web"), True),
        (ask(NODE, "create", "pods/exec", "web"), False),
        (ask(NODE, "get", "nodes", "one", ""), True),
        (ask(NODE, "watch", "nodes", "one", ""), True),
        (ask(NODE, "get", "nodes", "two", ""), False),
        (ask(NODE, "list", "nodes", "", ""), False),
        (ask(NODE, "patch", "nodes/status", "one", ""), True),
        (ask(NODE, "create", "serviceaccounts/token", "robot"), True),
        (ask(OTHER, "create", "serviceaccounts/token", "robot"), False),
        (ask(NODE, "create", "leases", "", "kube-node-lease", LEASES), True),
        (ask(NODE, "update", "leases", "one", "kube-node-lease", LEASES), True),
        (ask(NODE, "update", "leases", "two", "kube-node-lease", LEASES), False),
        (ask(NODE, "get", "leases", "one", "kube-system", LEASES), False),
        (ask(NODE, "create", "events"), True),
        (ask(NODE, "list", "deployments", group="apps"), False),
        (ask(User("jane"), "get", "pods", "web"), False),
        (ask(User("system:node:one"), "get", "pods", "web"), False),  # not in system:nodes
    ],
)
def test_questions(question: Attributes, allowed: bool) -> None:
    assert authorizer(BUSY).authorize(question).allowed is allowed


def write(operation: str, resource: str, name: str, new: Object | None = None, old: Object | None = None) -> NodeWrite:
    resource, _, subresource = resource.partition(":")
    return NodeWrite(operation, resource, subresource, "n", name, new, old)


def mirror(**owner: Any) -> Object:
    made = pod("static")
    del made["spec"]["serviceAccountName"]
    made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    reference = {"apiVersion": "v1", "kind": "Node", "name": "one", "uid": "uid-of-one", "controller": True}
    made["metadata"]["ownerReferences"] = [reference | owner]
    return made


def node(name: str = "one", labels: dict[str, str] | None = None, taints: Any = None) -> Object:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"taints": taints} if taints else {}}


def token(**ref: Any) -> Object:
    return {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid-of-web"} | ref}}


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (write("create", "pods", "static", mirror()), ""),
        (write("create", "pods", "web", pod()), 'node "one" can only create mirror pods'),
        (write("create", "pods", "static", mirror(name="two")), "with an owner reference set to itself"),
        (write("create", "pods", "static", mirror(uid="x")), "UID mismatch: expected x got uid-of-one"),
        (write("create", "pods", "static", mirror(controller=False)), "with a controller owner reference"),
        (write("create", "pods", "static", {**mirror(), "spec": BUSY["spec"]}), "reference a service account"),
        (write("delete", "pods", "web", old=pod()), ""),
        (write("delete", "pods", "web", old=pod(node="two")), "can only delete pods with spec.nodeName set to itself"),
        (write("update", "pods", "web", pod(), pod()), "can only create and delete mirror pods"),
        (write("update", "pods:status", "web", pod(), pod()), ""),
        (write("update", "pods:status", "web", pod(), pod(node="two")), "can only update pod status for pods"),
        (
            write("update", "pods:status", "web", {**pod(), "metadata": {"labels": {"a": "b"}}}, pod()),
            "cannot update labels through pod status",
        ),
        (write("create", "pods:eviction", "web"), ""),
        (write("create", "pods:binding", "web"), "unexpected pod subresource"),
        (write("create", "nodes", "one", node()), ""),
        (write("create", "nodes", "", node("two")), 'is not allowed to modify node "two"'),
        (write("create", "nodes", "one", node(labels={"kubernetes.io/os": "linux", "mine": "x"})), ""),
        (write("create", "nodes", "one", node(labels={"x.kubernetes.io/y": "z"})), "set the following labels: x.kub"),
        (
            write("update", "nodes", "one", node(labels={"node-restriction.kubernetes.io/x": "y"}), node()),
            "is not allowed to modify labels: node-restriction.kubernetes.io/x",
        ),
        (write("update", "nodes", "one", node(taints=[{"key": "a"}]), node()), "is not allowed to modify taints"),
        (write("update", "nodes:status", "one", node(), node()), ""),
        (write("delete", "nodes", "two"), 'is not allowed to modify node "two"'),
        (write("create", "serviceaccounts:token", "robot", token()), ""),
        (write("create", "serviceaccounts:token", "robot", {"spec": {}}), "not bound to a pod"),
        (write("create", "serviceaccounts:token", "robot", token(uid="")), "without a uid"),
        (write("create", "serviceaccounts:token", "robot", token(uid="x")), "does not match the UID in record"),
        (write("create", "serviceaccounts:token", "robot", token(name="far", uid="uid-of-far")), "on a different node"),
        (write("create", "configmaps", "x", {}), ""),
    ],
)
def test_restriction(what: NodeWrite, sentence: str) -> None:
    objects = FakeObjects()
    objects.add("nodes", "one")
    objects.add("pods", "web", "n", spec={"nodeName": "one"})
    objects.add("pods", "far", "n", spec={"nodeName": "two"})
    found = refuse(NODE, what, objects)
    assert (sentence in found) if sentence else found == ""
    assert refuse(User("jane"), what, objects) == ""
