"""Who asks: certificates, tokens, nobody, and the names that may be borrowed. And what reviews answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fakes.objects import FakeObjects, binding, role, rule

from groundplane.apiserver.access.contract import CertificateSubject, Credentials, Identity, PolicyRule, User
from groundplane.apiserver.access.jws import Key
from groundplane.apiserver.access.system import Access, assemble
from groundplane.apiserver.statuses import StatusError
from groundplane.base.clock import SystemClock

PRIVATE = ec.generate_private_key(ec.SECP256R1())
ADMIN = CertificateSubject("admin", ("system:masters",), "ab12")
AGENT = CertificateSubject("agent", ("agents",))
JANE = User("jane", groups=("devs", "system:authenticated"))
OBJECTS = FakeObjects()
ACCOUNT = OBJECTS.add("serviceaccounts", "robot", "n")


def system() -> Access:
    """jane reads pods in n; agent may act as john, as group devs, as the robot, with scope/x = y, and as uid 7."""
    made = assemble(
        OBJECTS,
        SystemClock(),
        issuer="https://issuer",
        keys=lambda: [Key(PRIVATE.public_key(), PRIVATE)],
        node_rules=[PolicyRule.read(rule("get", "nodes"))],
    )
    for obj in (
        role("reader", rule("get list", "pods"), rule("get", urls="/metrics")),
        binding("v", "ClusterRole/reader", ["User/jane"], "n"),
        role("actor", rule("impersonate", "users", names="john"), rule("impersonate", "groups", names="devs")),
        role(
            "actor2",
            rule("impersonate", "serviceaccounts", names="robot"),
            rule("impersonate", "userextras/scope", "authentication.k8s.io", names="y"),
            rule("impersonate", "uids", "authentication.k8s.io", names="7"),
        ),
        binding("a", "ClusterRole/actor", ["Group/agents"]),
        binding("b", "ClusterRole/actor2", ["Group/agents"]),
    ):
        made.put(obj)
    return made


def who(credentials: Credentials) -> Identity:
    return asyncio.run(system().authenticator.authenticate(credentials))


def refusal(credentials: Credentials) -> StatusError:
    with pytest.raises(StatusError) as caught:
        who(credentials)
    return caught.value


def test_a_certificate_names_user_and_groups() -> None:
    identity = who(Credentials(ADMIN))
    assert identity.user == User(
        "admin",
        groups=("system:masters", "system:authenticated"),
        extra={"authentication.kubernetes.io/credential-id": ("X509SHA256=ab12",)},
    )
    assert identity.actor is identity.user


@pytest.mark.parametrize("header", ["", "Basic dXNlcjpwYXNz", "Bearer", "Bearer  "])
def test_without_credentials_one_is_anonymous(header: str) -> None:
    assert who(Credentials(authorization=header)).user == User("system:anonymous", groups=("system:unauthenticated",))
    assert who(Credentials(CertificateSubject(""), header)).user.name == "system:anonymous"


def test_a_bad_token_is_unauthorized_never_anonymous() -> None:
    error = refusal(Credentials(authorization="Bearer wrong"))
    assert error.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }


def test_a_service_accounts_token() -> None:
    token = system().tokens.request(ACCOUNT, {})["status"]["token"]
    user = who(Credentials(authorization=f"bearer {token}")).user
    assert user.name == "system:serviceaccount:n:robot"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated")
    assert who(Credentials(ADMIN, f"Bearer {token}")).user.name == "admin"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"impersonate_user": "john"}, User("john", groups=("system:authenticated",))),
        (
            {"impersonate_user": "john", "impersonate_groups": ("devs",)},
            User("john", groups=("devs", "system:authenticated")),
        ),
        (
            {"impersonate_user": "system:serviceaccount:n:robot"},
            User(
                "system:serviceaccount:n:robot",
                groups=("system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"),
            ),
        ),
        (
            {"impersonate_user": "john", "impersonate_uid": "7", "impersonate_extra": {"scope": ("y",)}},
            User("john", "7", ("system:authenticated",), {"scope": ("y",)}),
        ),
    ],
)
def test_a_name_may_be_borrowed_where_that_is_allowed(wanted: dict[str, Any], expected: User) -> None:
    identity = who(Credentials(AGENT, **wanted))
    assert identity.user == expected
    assert identity.actor.name == "agent"


def test_anonymity_can_be_borrowed() -> None:
    assert who(Credentials(ADMIN, impersonate_user="system:anonymous")).user.groups == ("system:unauthenticated",)


@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        (
            {"impersonate_user": "root"},
            403,
            'users "root" is forbidden: User "agent" cannot impersonate resource "users" in API group "" at the '
            "cluster scope",
        ),
        (
            {"impersonate_user": "john", "impersonate_groups": ("system:masters",)},
            403,
            'groups "system:masters" is forbidden: User "agent" cannot impersonate resource "groups" in API group "" '
            "at the cluster scope",
        ),
        (
            {"impersonate_user": "system:serviceaccount:n:other"},
            403,
            'serviceaccounts "other" is forbidden: User "agent" cannot impersonate resource "serviceaccounts" in API '
            'group "" in the namespace "n"',
        ),
        (
            {"impersonate_user": "john", "impersonate_extra": {"scope": ("z",)}},
            403,
            'userextras.authentication.k8s.io "z" is forbidden: User "agent" cannot impersonate resource '
            '"userextras/scope" in API group "authentication.k8s.io" at the cluster scope',
        ),
        ({"impersonate_groups": ("devs",)}, 500, "without impersonating a user"),
    ],
)
def test_a_name_may_not_be_borrowed_otherwise(wanted: dict[str, Any], code: int, message: str) -> None:
    error = refusal(Credentials(AGENT, **wanted))
    assert error.code == code
    assert message in str(error)


def access(verb: str = "get", resource: str = "pods", namespace: str = "n", **spec: Any) -> dict[str, Any]:
    return {"spec": {"resourceAttributes": {"namespace": namespace, "verb": verb, "resource": resource}, **spec}}


def test_may_i() -> None:
    reviews = system().reviews
    answer = reviews.self_access(access(), JANE, "")
    assert answer["spec"] == access()["spec"]
    reason = 'RBAC: allowed by RoleBinding "v/n" of ClusterRole "reader" to User "jane"'
    assert answer["status"] == {"allowed": True, "reason": reason}
    assert reviews.self_access(access("create"), JANE, "")["status"] == {"allowed": False}
    path = {"spec": {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}}
    assert reviews.self_access(path, User("r", groups=("system:masters",)), "")["status"] == {"allowed": True}
    assert reviews.self_access(path, JANE, "")["status"] == {"allowed": False}


def test_may_they() -> None:
    reviews = system().reviews
    assert reviews.subject_access(access(user="jane"), User("x"), "")["status"]["allowed"]
    assert reviews.subject_access(access("*", "*", groups=["system:masters"]), User("x"), "")["status"]["allowed"]
    local = {"metadata": {"namespace": "n"}, **access(user="jane")}
    assert reviews.local_access(local, User("x"), "n")["status"]["allowed"]


def test_a_node_may_list_its_own_pods() -> None:
    requirement = {"key": "spec.nodeName", "operator": "In", "values": ["one"]}
    spec = {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": [requirement]}}
    question = {"spec": {"resourceAttributes": spec, "user": "system:node:one", "groups": ["system:nodes"]}}
    assert system().reviews.subject_access(question, User("x"), "")["status"]["allowed"]


@pytest.mark.parametrize(
    ("kind", "question", "message"),
    [
        (
            "self_access",
            {"spec": {}},
            '.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of '
            "nonResourceAttributes or resourceAttributes must be specified",
        ),
        ("self_access", {**access(), "metadata": {"name": "x"}}, "must be empty"),
        ("self_access", access(nonResourceAttributes={"path": "/"}), "in combination with resourceAttributes"),
        ("subject_access", access(), 'spec.user: Invalid value: "": at least one of user or group must be specified'),
        ("local_access", access(user="x"), 'Invalid value: "n": must match metadata.namespace'),
    ],
)
def test_a_bad_question_is_invalid(kind: str, question: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as caught:
        getattr(system().reviews, kind)(question, JANE, "n")
    assert caught.value.code == 422
    assert message in str(caught.value)
    assert "kind" not in (caught.value.details or {})


def test_all_that_one_may_do() -> None:
    status = system().reviews.self_rules({"spec": {"namespace": "n"}}, JANE, "")["status"]
    assert status == {
        "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
        "incomplete": False,
    }
    node = User("system:node:one", groups=("system:nodes",))
    status = system().reviews.self_rules({"spec": {"namespace": "n"}}, node, "")["status"]
    assert status["incomplete"] and "does not support user rule resolution" in status["evaluationError"]
    with pytest.raises(StatusError, match="no namespace"):
        system().reviews.self_rules({"spec": {}}, JANE, "")


def test_whose_token_is_this() -> None:
    made = system()
    token = made.tokens.request(ACCOUNT, {})["status"]["token"]
    status = made.reviews.token({"spec": {"token": token}}, JANE, "")["status"]
    assert status["authenticated"] and status["audiences"] == ["https://issuer"]
    assert status["user"]["username"] == "system:serviceaccount:n:robot"
    assert "system:authenticated" in status["user"]["groups"]
    status = made.reviews.token({"spec": {"token": "x.y.z"}}, JANE, "")["status"]
    assert status["user"] == {} and "authenticated" not in status
    assert status["error"].startswith("[invalid bearer token, ")
    with pytest.raises(StatusError, match="token is required"):
        made.reviews.token({"spec": {}}, JANE, "")


def test_who_am_i() -> None:
    status = system().reviews.self_subject({}, User("jane", "7", ("devs",), {"k": ("v",)}), "")["status"]
    assert status == {"userInfo": {"username": "jane", "uid": "7", "groups": ["devs"], "extra": {"k": ["v"]}}}
