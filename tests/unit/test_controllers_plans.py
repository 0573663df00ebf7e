"""Tables of the Deployment's and ReplicaSet's plans: what is written for which state, with nothing around them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object
from groundplane.controllers.deployment import annotations as notes
from groundplane.controllers.deployment import plan as deployments
from groundplane.controllers.deployment import sizes, status, template
from groundplane.controllers.replicaset import plan as sets
from groundplane.controllers.replicaset import status as set_status

NOW = 1_700_000_000.0


def deployment(
    replicas: int = 10, image: str = "new", surge: Any = "25%", unavailable: Any = "25%", **spec: Any
) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


def replica_set(
    image: str,
    replicas: int,
    available: int | None = None,
    *,
    revision: int = 1,
    desired: int | None = 10,
    maximum: int = 13,
) -> Object:
    annotations = {notes.REVISION: str(revision)}
    if desired is not None:
        annotations |= {notes.DESIRED: str(desired), notes.MAXIMUM: str(maximum)}
    labels = {"app": "web", "pod-template-hash": image}
    count = replicas if available is None else available
    return {
        "metadata": {
            "name": f"web-{image}",
            "namespace": "default",
            "uid": image,
            "creationTimestamp": rfc3339(NOW + revision),
            "generation": 1,
            "annotations": annotations,
        },
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"image": image}]}},
        },
        "status": {"replicas": replicas, "availableReplicas": count, "readyReplicas": count, "observedGeneration": 1},
    }


def sizes_after(plan: deployments.Plan, before: list[Object]) -> dict[str, int]:
    after = {s["metadata"]["uid"]: s["spec"]["replicas"] for s in before}
    after |= {c.new["metadata"]["uid"]: c.new["spec"]["replicas"] for c in plan.change}
    if plan.create is not None:
        after["created"] = plan.create["spec"]["replicas"]
    return after


ROLLING = [
    # what is there, what there must be after one pass
    ("nothing yet", deployment(), [], {"created": 10}),
    ("a new template", deployment(), [replica_set("old", 10)], {"old": 8, "created": 3}),
    ("new pods not available", deployment(), [replica_set("old", 8), replica_set("new", 3, 0)], {"old": 8, "new": 5}),
    ("room by surge is used up", deployment(), [replica_set("old", 8), replica_set("new", 5, 0)], {"old": 8, "new": 5}),
    ("new pods are available", deployment(), [replica_set("old", 8), replica_set("new", 5, 5)], {"old": 3, "new": 5}),
    ("then the new set grows", deployment(), [replica_set("old", 3), replica_set("new", 5, 5)], {"old": 3, "new": 10}),
    ("old pods are broken", deployment(), [replica_set("old", 10, 4), replica_set("new", 3, 0)], {"old": 8, "new": 3}),
    ("nothing may be missing", deployment(surge=1, unavailable=0), [replica_set("old", 10)], {"old": 10, "created": 1}),
    (
        "nothing may be added",
        deployment(surge=0, unavailable=3),
        [replica_set("old", 10, maximum=10)],
        {"old": 7, "created": 0},
    ),
    ("done", deployment(), [replica_set("old", 0), replica_set("new", 10)], {"old": 0, "new": 10}),
    ("a smaller number", deployment(4), [replica_set("new", 10)], {"new": 4}),
    ("a larger number", deployment(20), [replica_set("new", 10)], {"new": 20}),
    (
        "larger in the middle of a rollout",
        deployment(20),
        [replica_set("old", 8), replica_set("new", 5)],
        {"old": 15, "new": 10},
    ),
    ("to nothing", deployment(0), [replica_set("old", 8), replica_set("new", 5)], {"old": 0, "new": 0}),
]


@pytest.mark.parametrize(("what", "wanted", "before", "after"), ROLLING, ids=[r[0] for r in ROLLING])
def test_one_pass_of_a_rolling_update(what: str, wanted: Object, before: list[Object], after: dict[str, int]) -> None:
    assert sizes_after(deployments.plan(wanted, before, old_pods_run=False), before) == after


def test_recreate_goes_down_waits_and_comes_up() -> None:
    wanted = deployment(strategy={"type": "Recreate"})
    before = [replica_set("old", 10)]
    assert sizes_after(deployments.plan(wanted, before, old_pods_run=True), before) == {"old": 0}
    gone = [replica_set("old", 0)]
    assert sizes_after(deployments.plan(wanted, gone, old_pods_run=True), gone) == {"old": 0}
    assert sizes_after(deployments.plan(wanted, gone, old_pods_run=False), gone) == {"old": 0, "created": 10}


def test_the_history_is_cut_from_its_old_end() -> None:
    old = [replica_set(f"o{n}", 0, revision=n) for n in range(1, 6)]
    busy = replica_set("busy", 0, revision=1)
    busy["status"]["replicas"] = 1
    wanted = deployment(revisionHistoryLimit=2)
    done = {"updatedReplicas": 10, "replicas": 10, "availableReplicas": 10, "observedGeneration": 1}
    plan = deployments.plan({**wanted, "status": done}, [*old, replica_set("new", 10, revision=6)], old_pods_run=False)
    assert [s["metadata"]["uid"] for s in plan.delete] == ["o1", "o2", "o3"]
    plan = deployments.plan({**wanted, "status": done}, [busy, *old[3:], replica_set("new", 10)], old_pods_run=False)
    assert plan.delete == []


def test_revisions_and_events() -> None:
    plan = deployments.plan(deployment(), [replica_set("old", 10, revision=4)], old_pods_run=False)
    assert plan.create is not None
    assert plan.create["metadata"]["annotations"][notes.REVISION] == "5"
    assert plan.revision == 5
    assert [c.event for c in plan.change] == ["Scaled down replica set web-old from 10 to 8"]
    back = deployments.plan(
        deployment(image="old"),
        [replica_set("old", 0, revision=1), replica_set("new", 10, revision=2)],
        old_pods_run=False,
    )
    (changed,) = [c.new for c in back.change if c.new["metadata"]["uid"] == "old"]
    assert changed["metadata"]["annotations"][notes.REVISION] == "3"
    assert changed["metadata"]["annotations"][notes.HISTORY] == "1"


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    wanted=st.integers(0, 40),
    surge=st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    unavailable=st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    choices=st.lists(st.integers(0, 7), min_size=5, max_size=60),
)
def test_a_rollout_keeps_its_bounds_and_ends(wanted: int, surge: Any, unavailable: Any, choices: list[int]) -> None:
    """However pods become available, there are never too many, never too few, and the rollout ends."""
    each = deployment(wanted, surge=surge, unavailable=unavailable)
    top = wanted + sizes.max_surge(each)
    least = wanted - sizes.max_unavailable(each)
    state = {"old": [wanted, wanted]} if wanted else {"old": [0, 0]}  # size, available
    for step in range(len(choices) + 200):
        before = [
            replica_set(image, size, have, revision=1 + (image == "new"), desired=wanted, maximum=top)
            for image, (size, have) in state.items()
        ]
        plan = deployments.plan(each, before, old_pods_run=False)
        for uid, size in sizes_after(plan, before).items():
            entry = state.setdefault("new" if uid == "created" else uid, [0, 0])
            entry[0] = size
            entry[1] = min(entry[1], size)
        assert sum(size for size, _ in state.values()) <= max(top, wanted)
        assert sum(have for _, have in state.values()) >= least
        lazy = step < len(choices) and choices[step]
        if not lazy and "new" in state:
            size, have = state["new"]
            state["new"][1] = min(size, have + 1 + (choices[step] if step < len(choices) else size))
    assert state.get("new", [0, 0]) == [wanted, wanted]
    assert state["old"] == [0, 0]


def test_the_hash_is_stable_and_templates_are_compared_without_it() -> None:
    one = deployment()["spec"]["template"]
    assert template.template_hash(one, None) == template.template_hash(dict(reversed(one.items())), None)
    assert template.template_hash(one, None) != template.template_hash(one, 1)
    assert set(template.template_hash(one, None)) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert template.same_template(replica_set("new", 1)["spec"]["template"], one)
    with_nulls = {**one, "metadata": {**one["metadata"], "creationTimestamp": None, "annotations": {}}}
    assert template.same_template(with_nulls, one)


def test_conditions_of_a_rollout() -> None:
    new = replica_set("new", 10, 9)
    each = {**deployment(), "status": {"replicas": 10, "updatedReplicas": 10, "availableReplicas": 8}}
    moving = status.rollout(each, [new], new, NOW)
    assert _words(moving, "Progressing") == ("True", "ReplicaSetUpdated", 'ReplicaSet "web-new" is progressing.')
    assert _words(moving, "Available")[:2] == ("True", "MinimumReplicasAvailable")
    stuck = status.rollout({**each, "status": moving}, [new], new, NOW + 601)
    assert _words(stuck, "Progressing")[:2] == ("False", "ProgressDeadlineExceeded")
    full = replica_set("new", 10)
    done = status.rollout({**each, "status": stuck}, [full], full, NOW + 700)
    message = 'ReplicaSet "web-new" has successfully progressed.'
    assert _words(done, "Progressing") == ("True", "NewReplicaSetAvailable", message)
    assert status.rollout({**each, "status": done}, [full], full, NOW + 9000) == done
    failing = {**new, "status": {**new["status"], "conditions": [_failure()]}}
    assert _words(status.rollout(each, [failing], failing, NOW), "ReplicaFailure")[1] == "FailedCreate"


def _failure() -> Object:
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}


def _words(found: Object, type: str) -> tuple[str, str, str]:
    (condition,) = [c for c in found["conditions"] if c["type"] == type]
    return condition["status"], condition["reason"], condition["message"]


def pod(name: str, *, node: str = "n", phase: str = "Running", ready: float | None = 100, **more: Any) -> Object:
    """`ready`: seconds ago."""
    status: Object = {"phase": phase, "containerStatuses": [{"restartCount": more.get("restarts", 0)}]}
    if ready is not None:
        since = rfc3339(NOW - ready)
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    meta: Object = {"name": name, "uid": name, "creationTimestamp": rfc3339(NOW - more.get("age", 1000))}
    if "cost" in more:
        meta["annotations"] = {sets.DELETION_COST: str(more["cost"])}
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}, "status": status}


DELETION = [
    ("unscheduled first", pod("keep"), pod("go", node="")),
    ("pending before running", pod("keep"), pod("go", phase="Pending")),
    ("unready before ready", pod("keep"), pod("go", ready=None)),
    ("cheap before dear", pod("keep", cost=5), pod("go", cost=-5)),
    ("a cost that is no number is none", pod("keep", cost=5), pod("go", cost="many")),
    ("ready for a shorter time", pod("keep", ready=10_000), pod("go", ready=10)),
    ("more restarts", pod("keep", restarts=1), pod("go", restarts=7)),
    ("younger", pod("keep", age=10_000), pod("go", age=10)),
]


@pytest.mark.parametrize(("what", "keep", "go"), DELETION, ids=[d[0] for d in DELETION])
def test_which_pod_goes_first(what: str, keep: Object, go: Object) -> None:
    for order in ([keep, go], [go, keep]):
        assert sets.plan(1, order, order, NOW).delete == [go]


def test_the_crowded_node_gives_first_and_all_go_unranked() -> None:
    pods = [pod("a", node="x"), pod("b", node="y"), pod("c", node="y")]
    assert sets.plan(2, pods, pods, NOW).delete[0]["spec"]["nodeName"] == "y"
    assert sets.plan(0, pods, pods, NOW).delete == pods
    assert sets.plan(7, pods, pods, NOW).create == 4
    assert sets.plan(10_000, pods, pods, NOW).create == sets.BURST_REPLICAS
    assert list(sets.batches(30)) == [1, 2, 4, 8, 15]


def test_replica_set_status_and_when_to_look_again() -> None:
    owner = {
        "kind": "ReplicaSet",
        "metadata": {"generation": 2},
        "spec": {"minReadySeconds": 60, "template": {"metadata": {"labels": {}}}},
    }
    active = [pod("old", ready=100), pod("fresh", ready=20), pod("starting", ready=None)]
    found = set_status.status(owner, active, [pod("ending")], None, NOW)
    assert found == {
        "replicas": 3,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "terminatingReplicas": 1,
        "observedGeneration": 2,
    }
    assert set_status.next_check(owner, active, NOW) == pytest.approx(40)
    failed = set_status.status(owner, [], [], ("FailedCreate", "no"), NOW)
    assert failed["conditions"][0]["reason"] == "FailedCreate"
