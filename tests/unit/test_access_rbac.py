"""RBAC: rules, subjects, reasons, and the index against a naive reading of all bindings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.objects import binding, role, rule

from groundplane.apiserver.access.authorizer import Superuser, Union, forbidden
from groundplane.apiserver.access.contract import MASTERS, Attributes, Decision, PolicyRule, User, Verdict
from groundplane.apiserver.access.rbac import Rbac, allows

JANE = User("jane", groups=("devs", "system:authenticated"))


def rbac(*objects: dict[str, Any]) -> Rbac:
    made = Rbac()
    for obj in objects:
        made.put(obj)
    return made


def ask(user: User, verb: str, resource: str, namespace: str = "", name: str = "", group: str = "") -> Attributes:
    resource, _, subresource = resource.partition("/")
    return Attributes(user, verb, group, "v1", resource, subresource, namespace, name)


@pytest.mark.parametrize(
    ("made", "asked", "expected"),
    [
        (rule("get", "pods"), ("get", "pods"), True),
        (rule("get", "pods"), ("list", "pods"), False),
        (rule("*", "pods"), ("deletecollection", "pods"), True),
        (rule("get", "pods"), ("get", "pods/log"), False),
        (rule("get", "pods/log"), ("get", "pods/log"), True),
        (rule("get", "*/log"), ("get", "pods/log"), True),
        (rule("get", "*/log"), ("get", "pods"), False),
        (rule("get", "*"), ("get", "pods/log"), True),
        (rule("get", "pods", "apps"), ("get", "pods"), False),
        (rule("get", "pods", "*"), ("get", "pods"), True),
        (rule("get", "pods", names="a b"), ("get", "pods", "n", "a"), True),
        (rule("get", "pods", names="a b"), ("get", "pods", "n", "c"), False),
        (rule("list", "pods", names="a"), ("list", "pods", "n"), False),
        (rule("get", urls="/metrics"), ("get", "pods"), False),
    ],
)
def test_a_rule_covers_a_resource_request(made: dict[str, Any], asked: tuple[str, ...], expected: bool) -> None:
    assert allows(PolicyRule.read(made), ask(JANE, *asked)) is expected


@pytest.mark.parametrize(
    ("urls", "path", "expected"),
    [
        ("/metrics", "/metrics", True),
        ("/metrics", "/metrics/x", False),
        ("/healthz/*", "/healthz/ping", True),
        ("/healthz/*", "/healthz", False),
        ("*", "/anything", True),
        ("/a /b", "/b", True),
    ],
)
def test_a_rule_covers_a_path(urls: str, path: str, expected: bool) -> None:
    assert allows(PolicyRule.read(rule("get", urls=urls)), Attributes(JANE, "get", path=path)) is expected
    assert not allows(PolicyRule.read(rule("get", "*", "*")), Attributes(JANE, "get", path=path))


def test_the_reason_names_binding_role_and_subject() -> None:
    reader = role("reader", rule("get", "pods"))
    local = role("local", rule("get", "secrets"), namespace="n")
    bound = rbac(
        reader,
        local,
        binding("everywhere", "ClusterRole/reader", ["Group/devs"]),
        binding("here", "Role/local", ["User/jane"], "n"),
        binding("robots", "ClusterRole/reader", ["ServiceAccount/robot"], "n"),
    )
    robot = User("system:serviceaccount:n:robot")
    reasons = [
        bound.authorize(ask(JANE, "get", "pods", "n")).reason,
        bound.authorize(ask(JANE, "get", "secrets", "n")).reason,
        bound.authorize(ask(robot, "get", "pods", "n")).reason,
    ]
    assert reasons == [
        'RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to Group "devs"',
        'RBAC: allowed by RoleBinding "here/n" of Role "local" to User "jane"',
        'RBAC: allowed by RoleBinding "robots/n" of ClusterRole "reader" to ServiceAccount "robot/n"',
    ]
    assert bound.authorize(ask(JANE, "get", "secrets", "other")).decision is Decision.NO_OPINION
    assert bound.authorize(ask(JANE, "get", "secrets")).decision is Decision.NO_OPINION


def test_a_missing_role_is_told() -> None:
    bound = rbac(binding("b", "ClusterRole/gone", ["User/jane"]), binding("c", "Role/gone", ["User/jane"], "n"))
    verdict = bound.authorize(ask(JANE, "get", "pods", "n"))
    assert verdict == Verdict(
        Decision.NO_OPINION,
        'RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, '
        'role.rbac.authorization.k8s.io "gone" not found]',
    )
    assert bound.rules_for(JANE, "")[1] == ['clusterrole.rbac.authorization.k8s.io "gone" not found']


def test_changes_are_followed() -> None:
    question = ask(JANE, "get", "pods", "n")
    bound = rbac(role("reader", rule("get", "pods")))
    assert not bound.authorize(question).allowed
    bound.put(binding("b", "ClusterRole/reader", ["User/jane"], "n"))
    assert bound.authorize(question).allowed
    bound.put(binding("b", "ClusterRole/reader", ["User/john"], "n"))
    assert not bound.authorize(question).allowed
    bound.put(binding("b", "ClusterRole/reader", ["User/jane"], "n"))
    bound.put(role("reader", rule("list", "pods")))
    assert not bound.authorize(question).allowed
    bound.put(role("reader", rule("get", "pods")))
    bound.remove("RoleBinding", "n", "b")
    assert not bound.authorize(question).allowed


def test_superusers_need_no_rules() -> None:
    union = Union([Superuser(), rbac()])
    assert union.authorize(ask(User("root", groups=(MASTERS,)), "delete", "nodes")).allowed
    assert not union.authorize(ask(JANE, "delete", "nodes")).allowed


@pytest.mark.parametrize(
    ("attributes", "reason", "message", "details"),
    [
        (
            ask(JANE, "list", "pods", "n"),
            "",
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "n"',
            {"kind": "pods"},
        ),
        (
            ask(JANE, "get", "deployments/scale", "n", "web", "apps"),
            "because",
            'deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments/scale" in API group '
            '"apps" in the namespace "n": because',
            {"name": "web", "group": "apps", "kind": "deployments"},
        ),
        (
            ask(JANE, "list", "nodes"),
            "",
            'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope',
            {"kind": "nodes"},
        ),
        (Attributes(JANE, "get", path="/x"), "", 'forbidden: User "jane" cannot get path "/x"', {}),
    ],
)
def test_a_refusal_has_upstreams_words(
    attributes: Attributes, reason: str, message: str, details: dict[str, str]
) -> None:
    status = forbidden(attributes, Verdict(Decision.NO_OPINION, reason)).to_object()
    assert (status["message"], status["details"], status["code"]) == (message, details, 403)


NAMES = st.sampled_from(["a", "b"])
SPACES = st.sampled_from(["n", "m"])
SUBJECTS = st.sampled_from(["User/jane", "User/john", "Group/devs", "ServiceAccount/n/a", "ServiceAccount/b"])
ROLES = st.builds(
    lambda name, space, verb: role(name, rule(verb, "pods"), namespace=space),
    NAMES,
    SPACES | st.just(""),
    st.sampled_from(["get", "list"]),
)
BINDINGS = st.builds(
    lambda name, space, kind, to, subjects: binding(name, f"{kind if space else 'ClusterRole'}/{to}", subjects, space),
    NAMES,
    SPACES | st.just(""),
    st.sampled_from(["Role", "ClusterRole"]),
    NAMES,
    st.lists(SUBJECTS, max_size=3),
)
USERS = st.sampled_from([JANE, User("john"), User("system:serviceaccount:n:a"), User("system:serviceaccount:m:b")])


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(ROLES | BINDINGS, st.booleans()), max_size=12),
    USERS,
    st.sampled_from(["get", "list"]),
    st.sampled_from(["n", "m", ""]),
)
def test_the_index_agrees_with_reading_everything(
    steps: list[tuple[dict[str, Any], bool]], user: User, verb: str, namespace: str
) -> None:
    index, objects = Rbac(), dict[tuple[str, str, str], dict[str, Any]]()
    for obj, stays in steps:
        place = (obj["kind"], obj["metadata"].get("namespace") or "", obj["metadata"]["name"])
        index.put(obj)
        objects[place] = obj
        if not stays:
            index.remove(*place)
            del objects[place]
        index.authorize(ask(user, verb, "pods", namespace))  # so that an answer is remembered
    expected = any(
        names(s, obj, user) and grants(objects, obj, verb)
        for (kind, scope, _), obj in objects.items()
        if kind.endswith("Binding") and scope in ("", namespace)
        for s in obj["subjects"]
    )
    assert index.authorize(ask(user, verb, "pods", namespace)).allowed is expected


def names(subject: dict[str, Any], obj: dict[str, Any], user: User) -> bool:
    if subject["kind"] == "ServiceAccount":
        home = subject.get("namespace") or obj["metadata"].get("namespace") or ""
        return bool(home) and user.name == f"system:serviceaccount:{home}:{subject['name']}"
    return subject["name"] == user.name if subject["kind"] == "User" else subject["name"] in user.groups


def grants(objects: dict[tuple[str, str, str], dict[str, Any]], obj: dict[str, Any], verb: str) -> bool:
    ref = obj["roleRef"]
    scope = obj["metadata"].get("namespace") or "" if ref["kind"] == "Role" else ""
    found = objects.get((ref["kind"], scope, ref["name"]))
    return found is not None and verb in found["rules"][0]["verbs"]
