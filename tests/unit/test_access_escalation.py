"""Nobody grants more than he holds: roles, bindings, aggregation, and upstream's sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.objects import RBAC, binding, role, rule

from groundplane.apiserver.access.authorizer import Superuser, Union
from groundplane.apiserver.access.contract import MASTERS, PolicyRule, User
from groundplane.apiserver.access.escalation import Escalation, breakdown, compact, covers
from groundplane.apiserver.access.rbac import Rbac
from groundplane.apiserver.statuses import StatusError

EDNA = User("edna", groups=("system:authenticated",))


def escalation(*held: dict[str, Any], user: str = "edna") -> Escalation:
    """A check in which edna holds the rules `held` everywhere."""
    rbac = Rbac()
    rbac.put(role("held", *held))
    rbac.put(binding("held", "ClusterRole/held", [f"User/{user}"]))
    rbac.put(role("target", rule("get", "secrets")))
    return Escalation(rbac, Union([Superuser(), rbac]))


def refused(check: Escalation, resource: str, obj: dict[str, Any], user: User = EDNA) -> StatusError:
    with pytest.raises(StatusError) as caught:
        check.check(user, resource, "", obj, None)
    return caught.value


def test_a_role_beyond_ones_rights_is_refused_in_upstreams_words() -> None:
    wanted = role("esc", rule("get list", "secrets pods"), namespace="n")
    error = refused(escalation(rule("get", "pods")), "roles", wanted)
    assert str(error) == (
        'roles.rbac.authorization.k8s.io "esc" is forbidden: user "edna" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    assert (error.code, error.details) == (403, {"name": "esc", "group": RBAC, "kind": "roles"})


def test_names_and_urls_are_shown() -> None:
    wanted = role("esc", rule("get", "pods", names="a"), rule("get", urls="/metrics"))
    error = refused(escalation(rule("get", "pods", names="b")), "clusterroles", wanted)
    assert '{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}' in str(error)
    assert '{NonResourceURLs:["/metrics"], Verbs:["get"]}' in str(error)


def test_what_one_holds_may_be_granted() -> None:
    check = escalation(rule("get list", "pods */scale", "*"), rule("get", urls="/healthz/*"))
    granted = role("ok", rule("get", "pods deployments/scale", "apps"), rule("get", urls="/healthz/ping"))
    check.check(EDNA, "clusterroles", "", granted, None)


def test_the_verb_escalate_waives_the_check() -> None:
    check = escalation(rule("escalate", "roles", RBAC))
    check.check(EDNA, "roles", "", role("esc", rule("*", "*", "*"), namespace="n"), None)
    assert refused(check, "clusterroles", role("esc", rule("*", "*", "*"))).code == 403


def test_superusers_and_the_garbage_collector_are_not_asked() -> None:
    check, wanted = escalation(), role("esc", rule("*", "*", "*"))
    check.check(User("root", groups=(MASTERS,)), "clusterroles", "", wanted, None)
    collected = {**wanted, "metadata": {**wanted["metadata"], "finalizers": ["x"]}}
    check.check(EDNA, "clusterroles", "esc", collected, wanted)
    changed = {**wanted, "rules": [rule("get", "secrets")]}
    with pytest.raises(StatusError):
        check.check(EDNA, "clusterroles", "esc", changed, wanted)


def test_aggregation_needs_everything() -> None:
    wanted = role("agg") | {"aggregationRule": {"clusterRoleSelectors": []}}
    error = refused(escalation(rule("get", "pods")), "clusterroles", wanted)
    assert str(error).endswith("must have cluster-admin privileges to use the aggregationRule")
    with pytest.raises(StatusError, match="must have cluster-admin privileges"):  # nor is one taken away with less
        escalation(rule("get", "pods")).check(EDNA, "clusterroles", "agg", role("agg"), wanted)
    escalation(rule("*", "*", "*"), rule("*", urls="*")).check(EDNA, "clusterroles", "", wanted, None)


def test_a_binding_needs_the_roles_rights_or_the_verb_bind() -> None:
    wanted = binding("b", "ClusterRole/target", ["User/x"], "n")
    error = refused(escalation(rule("get", "pods")), "rolebindings", wanted)
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in str(error)
    escalation(rule("get", "secrets")).check(EDNA, "rolebindings", "", wanted, None)
    escalation(rule("bind", "clusterroles", RBAC, names="target")).check(EDNA, "rolebindings", "", wanted, None)
    missing = binding("b", "ClusterRole/missing", ["User/x"], "n")
    error = refused(escalation(), "rolebindings", missing)
    assert (error.code, str(error)) == (404, 'clusterrole.rbac.authorization.k8s.io "missing" not found')


WORDS = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=2, unique=True).map(tuple)
RULES = st.builds(PolicyRule, WORDS, WORDS, WORDS, st.just(()) | WORDS) | st.builds(PolicyRule, WORDS, urls=WORDS)


@settings(derandomize=True, deadline=None)
@given(RULES)
def test_a_rule_covers_its_own_parts_and_compacting_loses_nothing(made: PolicyRule) -> None:
    parts = breakdown(made)
    assert all(covers(made, part) for part in parts)
    again = [p for r in compact(parts) for p in breakdown(r)]
    assert {(p.verbs, p.groups, p.resources, p.names, p.urls) for p in again} == {
        (p.verbs, p.groups, p.resources, p.names, p.urls) for p in parts
    }
