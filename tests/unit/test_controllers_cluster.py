"""Services' endpoints, service accounts, root CA, roles, node ranges, node life-cycle on the fake cluster."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster
from tests.unit.test_controllers_cleanup import running

from groundplane.base.clock import rfc3339
from groundplane.client.contract import Object
from groundplane.client.resources import CLUSTER_ROLES
from groundplane.controllers.clusterrole.loop import ClusterRoleAggregationController
from groundplane.controllers.endpoints.loop import EndpointsController
from groundplane.controllers.endpointslice import plan as slices
from groundplane.controllers.endpointslice.loop import EndpointSliceController
from groundplane.controllers.nodeipam.loop import NodeIPAMController
from groundplane.controllers.nodeipam.plan import Ranges
from groundplane.controllers.nodelifecycle import plan as taint_plans
from groundplane.controllers.nodelifecycle.loop import NodeLifecycleController
from groundplane.controllers.serviceaccount.loop import ServiceAccountController
from groundplane.controllers.tainteviction.loop import TaintEvictionController
from groundplane.controllers.tainteviction.plan import FOREVER, patience


def service(name: str = "web", **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    body = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"], **spec}
    metadata = {"name": name, "namespace": "default", "labels": {"team": "a"}, "uid": "s"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": body}


def pod(number: int, *, ready: bool = True, node: str = "n") -> Object:
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": rfc3339(0)}
    status = {"phase": "Running", "podIP": f"10.244.{number // 250}.{number % 250}", "conditions": [condition]}
    metadata = {"name": f"p{number}", "namespace": "default", "labels": {"app": "web"}, "uid": f"u{number}"}
    spec = {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 9000}]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


async def add_pod(client: Any, body: Object) -> Object:
    made = await client.pods.create({**body, "status": {}})
    return await client.pods.update_status({**made, "status": body["status"]})


def endpoints_in(each: Object) -> list[str]:
    return [e["addresses"][0] for e in each.get("endpoints") or ()]


def test_slices_and_endpoints_follow_pods(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, EndpointSliceController, EndpointsController) as client:
            await client.services.create(service())
            await clock.advance(0.1)
            (empty,) = cluster.objects("endpointslices")
            assert endpoints_in(empty) == []
            assert empty["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
            assert empty["metadata"]["labels"]["team"] == "a"
            one = await add_pod(client, pod(1))
            await add_pod(client, pod(2, ready=False))
            await clock.advance(0.2)
            (filled,) = cluster.objects("endpointslices")
            assert filled["metadata"]["name"] == empty["metadata"]["name"]  # the empty one was used
            assert [(e["addresses"][0], e["conditions"]["ready"]) for e in filled["endpoints"]] == [
                ("10.244.0.1", True),
                ("10.244.0.2", False),
            ]
            assert filled["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
            (legacy,) = cluster.objects("endpoints")
            (subset,) = legacy["subsets"]
            assert [a["ip"] for a in subset["addresses"]] == ["10.244.0.1"]
            assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.244.0.2"]
            await client.pods.delete("p1", "default", grace_period=30)
            await clock.advance(0.1)
            (draining,) = cluster.objects("endpointslices")
            assert draining["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}
            await client.pods.delete("p1", "default", uid=one["metadata"]["uid"], grace_period=0)
            await clock.advance(0.1)
            assert endpoints_in(cluster.objects("endpointslices")[0]) == ["10.244.0.2"]
            writes = len(cluster.writes("endpointslices"))
            await clock.advance(1000)
            assert len(cluster.writes("endpointslices")) == writes
            await client.services.delete("web", "default")
            await clock.advance(0.1)
            assert cluster.objects("endpoints") == []

    run(work())


def test_a_slice_that_somebody_deletes_comes_back(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, EndpointSliceController) as client:
            await client.services.create(service())
            await add_pod(client, pod(1))
            await clock.advance(0.2)
            (each,) = cluster.objects("endpointslices")
            await client.endpoint_slices.delete(each["metadata"]["name"], "default")
            await clock.advance(0.2)
            (again,) = cluster.objects("endpointslices")
            assert endpoints_in(again) == ["10.244.0.1"]

    run(work())


def _stored(plan: slices.Plan, old: list[Object]) -> list[Object]:
    """What the slices would be after the plan, named."""
    by_name = {s["metadata"]["name"]: s for s in old}
    for each in plan.delete:
        del by_name[each["metadata"]["name"]]
    for each in plan.update:
        by_name[each["metadata"]["name"]] = each
    for number, each in enumerate(plan.create):
        name = f"new{len(by_name)}-{number}"
        by_name[name] = {**each, "metadata": {**each["metadata"], "name": name}}
    return list(by_name.values())


def test_250_endpoints_make_three_slices_and_one_change_touches_one() -> None:
    pods = [pod(n) for n in range(250)]
    first = slices.plan(service(), pods, [], {})
    assert sorted(len(s["endpoints"]) for s in first.create) == [50, 100, 100]
    stored = _stored(first, [])
    again = slices.plan(service(), pods, stored, {})
    assert (again.create, again.update, again.delete) == ([], [], [])
    pods[120] = pod(120, ready=False)
    changed = slices.plan(service(), pods, stored, {})
    assert (len(changed.create), len(changed.update), len(changed.delete)) == (0, 1, 0)
    grown = slices.plan(service(), [*pods[:120], *pods[121:], pod(300)], stored, {})
    assert (len(grown.create), len(grown.update), len(grown.delete)) == (0, 1, 0)  # the slice that loses one takes it
    none = slices.plan(service(), [], stored, {})
    assert (len(none.create), len(none.update), len(none.delete)) == (0, 1, 2)


def test_pods_that_share_an_address_are_endpoints_of_their_own() -> None:
    """Two pods in their node's network, or one that comes where another goes."""
    one, two = pod(1), pod(1, ready=False)
    two["metadata"] = {**two["metadata"], "name": "other", "uid": "other"}
    (made,) = slices.plan(service(), [one, two], [], {}).create
    assert [(e["targetRef"]["name"], e["conditions"]["ready"]) for e in made["endpoints"]] == [
        ("p1", True),
        ("other", False),
    ]
    stored = _stored(slices.plan(service(), [one, two], [], {}), [])
    again = slices.plan(service(), [two, one], stored, {})
    assert (again.create, again.update, again.delete) == ([], [], [])


def test_slices_of_a_former_service_of_that_name_are_not_taken_over() -> None:
    former = service()
    former["metadata"] = {**former["metadata"], "uid": "former"}
    stored = _stored(slices.plan(former, [pod(1)], [], {}), [])
    changed = slices.plan(service(), [pod(1)], stored, {})
    assert (len(changed.create), len(changed.update), changed.delete) == (1, 0, stored)


def test_named_ports_divide_pods_into_groups() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]
    other = pod(2)
    other["spec"] = {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 7000}]}]}
    without = pod(3)
    without["spec"] = {"containers": [{"name": "c"}]}
    made = slices.plan(service(ports=ports), [pod(1), other, without], [], {}).create
    assert sorted(s["ports"][0]["port"] for s in made) == [7000, 9000]
    assert sum(len(s["endpoints"]) for s in made) == 2


def test_service_accounts_roles_and_ranges(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        kinds = (ServiceAccountController, ClusterRoleAggregationController, NodeIPAMController)
        async with running(cluster, clock, *kinds) as client:
            await client.namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}})
            roles = client.of(CLUSTER_ROLES)
            selector = {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]}
            await roles.create({"kind": "ClusterRole", "metadata": {"name": "view"}, "aggregationRule": selector})
            rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
            labelled = {"name": "pods", "labels": {"to-view": "true"}}
            await roles.create({"kind": "ClusterRole", "metadata": labelled, "rules": [rule]})
            taken = {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}
            await client.nodes.create({"kind": "Node", "metadata": {"name": "a"}, "spec": taken})
            await client.nodes.create({"kind": "Node", "metadata": {"name": "b"}, "spec": {}})
            await clock.advance(0.1)
            assert [o["metadata"]["name"] for o in cluster.objects("serviceaccounts", "x")] == ["default"]
            assert (await roles.get("view"))["rules"] == [rule]
            assert (await client.nodes.get("b"))["spec"]["podCIDR"] == "10.244.1.0/24"
            await client.service_accounts.delete("default", "x")
            await clock.advance(0.1)
            assert len(cluster.objects("serviceaccounts", "x")) == 1

    run(work())


def test_ranges_end_and_are_used_again() -> None:
    ranges = Ranges("10.0.0.0/22", 24)
    assert [ranges.allocate() for _ in range(5)] == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", None]
    ranges.free("10.0.1.0/24")
    assert ranges.allocate() == "10.0.1.0/24"
    with pytest.raises(ValueError, match="do not fit"):
        Ranges("10.0.0.0/24", 16)


def test_a_node_without_a_range_waits_for_one(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, NodeIPAMController) as client:
            for number in range(257):
                await client.nodes.create({"kind": "Node", "metadata": {"name": f"n{number:03}"}, "spec": {}})
            await clock.advance(1)
            without = [n["metadata"]["name"] for n in cluster.objects("nodes") if "podCIDR" not in n["spec"]]
            assert without == ["n256"]
            assert [e["reason"] for e in cluster.objects("events")] == ["CIDRNotAvailable"]
            calls = len(cluster.calls)
            await clock.advance(600)
            assert len(cluster.calls) == calls
            await client.nodes.delete("n007")
            await clock.advance(1)
            assert (await client.nodes.get("n256"))["spec"]["podCIDR"] == "10.244.7.0/24"

    run(work())


def node(name: str, now: float, ready: str = "True") -> Object:
    condition = {
        "type": "Ready",
        "status": ready,
        "lastHeartbeatTime": rfc3339(now),
        "lastTransitionTime": rfc3339(now),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {},
        "status": {"conditions": [condition]},
    }


async def add_node(client: Any, body: Object) -> None:
    made = await client.nodes.create({**body, "status": {}})
    await client.nodes.update_status({**made, "status": body["status"]})


def keys_of(each: Object) -> set[tuple[str, str]]:
    return {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in each["spec"].get("taints") or ()}


def test_a_silent_node_is_tainted_and_its_pods_leave(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, NodeLifecycleController, TaintEvictionController) as client:
            for name in ("quiet", "alive"):
                await add_node(client, node(name, clock.time()))
            impatient = pod(1, node="quiet")
            impatient["spec"]["tolerations"] = [
                {
                    "key": "node.kubernetes.io/unreachable",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 30,
                }
            ]
            await add_pod(client, impatient)
            lease = {"kind": "Lease", "metadata": {"name": "alive", "namespace": "kube-node-lease"}, "spec": {}}
            lease = await client.leases.create(lease)
            for _ in range(12):
                await clock.advance(10)
                lease = await client.leases.update({**lease, "spec": {"renewTime": rfc3339(clock.time())}})
                if clock.monotonic() == 40:
                    assert keys_of(await client.nodes.get("quiet")) == set()
                if clock.monotonic() == 60:
                    assert keys_of(await client.nodes.get("quiet")) == {
                        ("unreachable", "NoSchedule"),
                        ("unreachable", "NoExecute"),
                    }
                    (left,) = cluster.objects("pods")
                    assert left["status"]["conditions"][0]["status"] == "False"
            assert keys_of(await client.nodes.get("alive")) == set()
            quiet = await client.nodes.get("quiet")
            assert {c["status"] for c in quiet["status"]["conditions"]} == {"Unknown"}
            assert all(p["metadata"].get("deletionTimestamp") for p in cluster.objects("pods"))
            back = node("quiet", clock.time())["status"]
            await client.nodes.update_status({**quiet, "status": back})
            await clock.advance(1)
            assert keys_of(await client.nodes.get("quiet")) == set()

    run(work())


def test_the_only_node_is_never_evicted_from(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, NodeLifecycleController) as client:
            await add_node(client, node("only", clock.time()))
            await clock.advance(100)
            assert keys_of(await client.nodes.get("only")) == {("unreachable", "NoSchedule")}

    run(work())


def test_cordoned_and_pressed_nodes_get_their_taints() -> None:
    each = node("n", 0, ready="False")
    each["spec"] = {"unschedulable": True, "taints": [{"key": "mine", "effect": "NoSchedule"}]}
    each["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})
    found = {(t["key"], t["effect"]) for t in taint_plans.taints(each, 0, evict=True)}
    assert found == {
        ("mine", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    }


def test_how_long_pods_tolerate() -> None:
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": rfc3339(100)}
    always = {"key": "k", "operator": "Exists"}
    minute = {"operator": "Exists", "tolerationSeconds": 60}

    def bears(*tolerations: Object) -> float:
        return patience({"spec": {"tolerations": list(tolerations)}}, [taint])

    assert bears() == 0
    assert bears(always) == FOREVER
    assert bears(minute) == bears(minute, always) == 60
    assert bears(always, minute) == FOREVER  # of a taint the first toleration counts
    assert bears({**minute, "tolerationSeconds": -5}) == 0
    assert patience({"spec": {}}, [{"key": "k", "effect": "NoSchedule"}]) == FOREVER


def test_patience_begins_when_the_pod_meets_the_taint(run) -> None:
    """`kubectl taint` says not when; and a pod that came long after the taint has its patience before it."""

    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, TaintEvictionController) as client:
            old = {"key": "old", "value": "x", "effect": "NoExecute", "timeAdded": rfc3339(clock.time() - 1000)}
            for name, taints in (("plain", [{"key": "k", "effect": "NoExecute"}]), ("old", [old])):
                body = node(name, clock.time())
                await add_node(client, {**body, "spec": {"taints": taints}})
            for number, name in enumerate(("plain", "old")):
                patient = pod(number, node=name)
                patient["spec"]["tolerations"] = [{"operator": "Exists", "tolerationSeconds": 30}]
                await add_pod(client, patient)
            await clock.advance(20)
            await client.pods.patch("p0", {"metadata": {"labels": {"looked": "at"}}}, "default")
            await clock.advance(9)
            assert len(cluster.objects("pods")) == 2
            await clock.advance(2)
            assert cluster.objects("pods") == []
            again = pod(0, node="plain")
            again["spec"]["tolerations"] = [{"operator": "Exists", "tolerationSeconds": 30}]
            await add_pod(client, again)
            await clock.advance(20)
            await client.nodes.patch("plain", {"spec": {"taints": None}})
            await clock.advance(60)
            assert len(cluster.objects("pods")) == 1
            said = [e["message"] for e in cluster.objects("events")]
            assert "Cancelling deletion of Pod default/p0" in said

    run(work())
