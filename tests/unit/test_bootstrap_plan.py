"""The delivered objects: what a first start creates, what a later one repairs, what it leaves to the administrator."""

from __future__ import annotations

from typing import Any

from tests.fakes.objects import binding, role, rule

from groundplane.apiserver.access.contract import Attributes, PolicyRule, User
from groundplane.apiserver.access.rbac import Rbac
from groundplane.apiserver.bootstrap.plan import AUTO_UPDATE, plan, reconciled
from groundplane.kinds.pack import bootstrap_objects

NOW = "2026-01-01T00:00:00Z"


def delivered(obj: dict[str, Any]) -> dict[str, Any]:
    meta = {**obj["metadata"], "annotations": {AUTO_UPDATE: "true"}, "labels": {"l": "v"}}
    return {**obj, "metadata": meta}


def test_a_first_start_creates_everything_that_is_not_the_clusters_own() -> None:
    first = plan(bootstrap_objects(), lambda _: None, NOW)
    kinds = [o["kind"] for o in first.create]
    assert first.update == []
    assert {"Namespace", "PriorityClass", "ClusterRole", "RoleBinding", "FlowSchema", "APIService"} <= set(kinds)
    assert not {"Service", "Endpoints", "ServiceCIDR"} & set(kinds)
    assert kinds[0] == "Namespace"
    assert kinds.index("ClusterRoleBinding") > max(i for i, k in enumerate(kinds) if k == "ClusterRole")
    services = [o for o in first.create if o["kind"] == "APIService"]
    assert all(o["status"]["conditions"][0]["reason"] == "Local" for o in services)


def test_a_second_start_writes_nothing() -> None:
    first = plan(bootstrap_objects(), lambda _: None, NOW)
    there = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for o in first.create}
    second = plan(
        bootstrap_objects(), lambda o: there[o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]], NOW
    )
    assert (second.create, second.update) == ([], [])


def test_a_role_gets_what_it_lacks_and_keeps_what_was_added() -> None:
    wanted = delivered(role("r", rule("get list", "pods"), rule("get", "nodes")))
    living = delivered(role("r", rule("list", "pods"), rule("get", "pods"), rule("get", "secrets")))
    better = reconciled(wanted, living)
    assert better is not None
    assert better["rules"] == [*living["rules"], rule("get", "nodes")]
    assert reconciled(wanted, better) is None


def test_labels_and_annotations_come_back() -> None:
    wanted, living = delivered(role("r", rule("get", "pods"))), delivered(role("r", rule("get", "pods")))
    living["metadata"]["labels"] = {"mine": "x"}
    better = reconciled(wanted, living)
    assert better is not None and better["metadata"]["labels"] == {"mine": "x", "l": "v"}


def test_an_administrator_who_says_no_is_obeyed() -> None:
    wanted, living = delivered(role("r", rule("get", "pods"))), delivered(role("r"))
    living["metadata"]["annotations"] = {AUTO_UPDATE: "false"}
    assert reconciled(wanted, living) is None


def test_a_binding_gets_its_subjects_but_never_another_role() -> None:
    wanted = delivered(binding("b", "ClusterRole/r", ["Group/a", "User/b"]))
    living = delivered(binding("b", "ClusterRole/r", ["User/mine", "Group/a"]))
    better = reconciled(wanted, living)
    assert better is not None
    assert [s["name"] for s in better["subjects"]] == ["mine", "a", "b"]
    assert reconciled(wanted, delivered(binding("b", "ClusterRole/other", []))) is None


def test_aggregated_rules_belong_to_the_controller() -> None:
    wanted = delivered(role("admin") | {"aggregationRule": {"clusterRoleSelectors": []}, "rules": None})
    assert reconciled(wanted, wanted | {"rules": [rule("get", "pods")]}) is None


def test_the_delivered_roles_let_the_parts_work() -> None:
    rbac = Rbac()
    for obj in bootstrap_objects():
        if obj["kind"] in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
            rbac.put(obj)
    anybody = ("system:authenticated",)
    scheduler = User("system:kube-scheduler", groups=anybody)
    assert rbac.authorize(Attributes(scheduler, "create", "", "v1", "pods", "binding", "n", "p")).allowed
    assert rbac.authorize(Attributes(scheduler, "watch", "", "v1", "pods")).allowed
    assert not rbac.authorize(Attributes(scheduler, "delete", "", "v1", "nodes", name="x")).allowed
    controller = User("system:serviceaccount:kube-system:deployment-controller")
    assert rbac.authorize(Attributes(controller, "create", "apps", "v1", "replicasets", "", "n")).allowed
    assert rbac.authorize(Attributes(User("jane", groups=anybody), "get", path="/api")).allowed
    nobody = User("system:anonymous", groups=("system:unauthenticated",))
    assert rbac.authorize(Attributes(nobody, "get", path="/healthz")).allowed
    assert not rbac.authorize(Attributes(nobody, "get", path="/api")).allowed
    assert PolicyRule.read(rule("get", "pods")).to_object() == rule("get", "pods")
