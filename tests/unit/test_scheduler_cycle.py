"""The scheduler's decisions: plugins, scores, messages, and classes kept up to date by changes alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from groundplane.client.contract import Object
from groundplane.scheduler.cache import Cache
from groundplane.scheduler.cycle import Cycle, Misfit
from groundplane.scheduler.messages import misfit_message
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.registry import default_profile


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **spec: Any) -> Object:
    labels = spec.pop("labels", {})
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def pod(name: str, cpu: str = "", memory: str = "", ports: tuple[int, ...] = (), **spec: Any) -> PodInfo:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    container = {"name": "c", "image": "web", "resources": {"requests": requests}}
    if ports:
        container["ports"] = [{"hostPort": port, "containerPort": port} for port in ports]
    meta = {"name": name, "namespace": "default", "uid": name}
    return PodInfo({"metadata": meta, "spec": {"containers": [container], **spec}})


def cycle(*nodes: Object) -> tuple[Cycle, Cache]:
    cache = Cache()
    for each in nodes:
        cache.put_node(each)
    return Cycle(default_profile(), cache, random.Random(1)), cache


def chosen(found: NodeInfo | Misfit) -> str:
    assert isinstance(found, NodeInfo), found
    return found.name


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def affinity(kind: str, operator: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": list(values)}]}
    if kind == REQUIRED:
        return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}
    return {"nodeAffinity": {PREFERRED: [{"weight": 10, "preference": term}]}}


MISFITS = [
    (node("n", cpu="1"), pod("p", cpu="2"), "Insufficient cpu", "Preemption is not helpful for scheduling"),
    (node("n", pods="0"), pod("p"), "Too many pods", "No preemption victims found for incoming pod"),
    (
        node("n", unschedulable=True),
        pod("p"),
        "node(s) were unschedulable",
        "Preemption is not helpful for scheduling",
    ),
    (
        node("n", taints=[TAINT]),
        pod("p"),
        "node(s) had untolerated taint(s)",
        "Preemption is not helpful for scheduling",
    ),
    (
        node("n", labels={"zone": "a"}),
        pod("p", nodeSelector={"zone": "b"}),
        "node(s) didn't match Pod's node affinity/selector",
        "Preemption is not helpful for scheduling",
    ),
    (
        node("n", labels={"zone": "a"}),
        pod("p", affinity=affinity(REQUIRED, "NotIn", "a")),
        "node(s) didn't match Pod's node affinity/selector",
        "Preemption is not helpful for scheduling",
    ),
]


@pytest.mark.parametrize(("where", "what", "reason", "preemption"), MISFITS)
def test_one_node_that_does_not_fit(where: Object, what: PodInfo, reason: str, preemption: str) -> None:
    found = cycle(where)[0].decide(what)
    assert isinstance(found, Misfit)
    assert misfit_message(found) == (
        f"0/1 nodes are available: 1 {reason}. no new claims to deallocate, preemption: "
        f"0/1 nodes are available: 1 {preemption}."
    )


def test_reasons_are_counted_and_sorted_by_their_text() -> None:
    found = cycle(node("a", taints=[TAINT]), node("b", cpu="1"), node("c", cpu="1"))[0].decide(pod("p", cpu="2"))
    assert isinstance(found, Misfit)
    assert misfit_message(found) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    nothing = cycle()[0].decide(pod("p"))
    assert isinstance(nothing, Misfit)
    assert misfit_message(nothing) == "no nodes available to schedule pods"


def test_what_is_used_by_others_could_be_preempted() -> None:
    decider, cache = cycle(node("n", cpu="2"))
    cache.put_pod(pod("other", cpu="1500m"), "n")
    found = decider.decide(pod("p", cpu="1"))
    assert isinstance(found, Misfit)
    assert "1 No preemption victims found for incoming pod." in misfit_message(found)


def test_tolerations_selectors_and_ports_that_fit() -> None:
    decider, cache = cycle(node("tainted", taints=[TAINT]), node("b", labels={"zone": "b"}))
    tolerant = pod("p", tolerations=[{"key": "k", "operator": "Exists"}], nodeSelector={})
    assert chosen(decider.decide(tolerant)) in ("tainted", "b")
    assert chosen(decider.decide(pod("q", affinity=affinity(REQUIRED, "In", "b")))) == "b"
    first = pod("w1", ports=(80,))
    cache.assume(first, chosen(decider.decide(first)))
    found = decider.decide(pod("w2", ports=(80,)))
    assert isinstance(found, Misfit)
    assert found.reasons["node(s) didn't have free ports for the requested pod ports"] == 1


def test_least_allocated_spreads_and_preference_wins() -> None:
    decider, cache = cycle(node("a"), node("b", labels={"zone": "b"}))
    cache.put_pod(pod("big", cpu="2", memory="4Gi"), "b")
    assert chosen(decider.decide(pod("p", cpu="100m"))) == "a"
    preferring = pod("q", cpu="100m", affinity=affinity(PREFERRED, "In", "b"))
    assert chosen(decider.decide(preferring)) == "b"
    avoid = [{"key": "k", "effect": "PreferNoSchedule"}]
    decider, _ = cycle(node("a", taints=avoid), node("b", cpu="2"))
    assert chosen(decider.decide(pod("r", cpu="100m"))) == "b"


def test_a_class_follows_changes_of_nodes() -> None:
    decider, cache = cycle(node("a"), node("b"))
    seen = []
    for number in range(8):
        each = pod(f"p{number}", cpu="1")
        where = chosen(decider.decide(each))
        cache.assume(each, where)
        seen.append(where)
    assert sorted(seen) == ["a"] * 4 + ["b"] * 4
    assert isinstance(decider.decide(pod("p8", cpu="1")), Misfit)
    cache.remove_pod("p3")
    assert chosen(decider.decide(pod("p8", cpu="1"))) == seen[3]
    cache.put_node(node("c"))
    cache.assume(pod("p8", cpu="1"), seen[3])
    assert chosen(decider.decide(pod("p9", cpu="1"))) == "c"
    cache.remove_node("c")
    assert isinstance(decider.decide(pod("p9", cpu="1")), Misfit)


def test_incremental_and_fresh_decisions_agree() -> None:
    """The model: a fresh cycle over the same cache must score the chosen node as high as any."""
    chance = random.Random(7)
    decider, cache = cycle(*(node(f"n{i}", cpu=str(2 + i % 4), labels={"zone": "ab"[i % 2]}) for i in range(12)))
    placed: list[str] = []
    for number in range(1000):
        action = chance.random()
        if action < 0.25 and placed:
            cache.remove_pod(placed.pop(chance.randrange(len(placed))))
        elif action < 0.3:
            i = chance.randrange(12)
            avoid = {**TAINT, "effect": "PreferNoSchedule"}
            taints = chance.choice([[], [], [TAINT], [avoid], [avoid, {**avoid, "key": "other"}]])
            cache.put_node(node(f"n{i}", cpu=str(2 + i % 4), labels={"zone": "ab"[i % 2]}, taints=taints))
        else:
            wish = affinity(PREFERRED, "In", "a") if number % 3 == 0 else {}
            each = pod(f"p{number}", cpu=chance.choice(["100m", "500m"]), affinity=wish)
            ours, fresh = decider.decide(each), Cycle(default_profile(), cache, random.Random(2)).decide(each)
            if isinstance(ours, Misfit):
                assert ours == fresh
                continue
            scores = _scores(cache, each)
            assert scores[ours.name] == max(scores.values())
            assert scores[chosen(fresh)] == max(scores.values())
            cache.assume(each, ours.name)
            placed.append(each.uid)


def _scores(cache: Cache, each: PodInfo) -> dict[str, int]:
    """The plain law: filter all, score all, normalize over all that fit."""
    profile = default_profile()
    fits = []
    for info in cache.nodes.values():
        states = [(f, f.prepare(each)) for f in profile.filters]
        if all(type(s).__name__ == "Skip" or f.filter(s, info) is None for f, s in states):
            fits.append(info)
    totals = dict.fromkeys((info.name for info in fits), 0)
    for scorer, weight in profile.scorers:
        state = scorer.prepare_score(each)
        if type(state).__name__ == "Skip":
            continue
        raw = {info.name: scorer.score(state, info) for info in fits}
        highest = max(raw.values(), default=0)
        for name, value in raw.items():
            totals[name] += weight * (scorer.normalize(value, highest) if scorer.normalizes else value)
    return totals
