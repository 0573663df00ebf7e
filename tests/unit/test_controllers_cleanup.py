"""Garbage collector, namespaces, pod GC on the fake cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster
from tests.unit.test_controllers_journey import deployment

from groundplane.client import resources as r
from groundplane.client.client import Client
from groundplane.client.contract import Object
from groundplane.client.informer import InformerFactory
from groundplane.client.resources import Resource
from groundplane.controllers.deployment.loop import DeploymentController
from groundplane.controllers.garbagecollector.loop import GarbageCollector
from groundplane.controllers.namespace.loop import NamespaceController
from groundplane.controllers.podgc.loop import PodGarbageCollector
from groundplane.controllers.podgc.plan import surplus
from groundplane.controllers.replicaset.loop import ReplicaSetController
from groundplane.controllers.runner import ClusterFacts, Context, Runner

ALL = (r.PODS, r.CONFIG_MAPS, r.SECRETS, r.DEPLOYMENTS, r.REPLICA_SETS, r.NODES, r.EVENTS)


async def discover() -> Sequence[Resource]:
    return ALL


@asynccontextmanager
async def running(cluster: FakeCluster, clock: VirtualClock, *kinds: Any):  # type: ignore[no-untyped-def]
    client = Client(cluster)
    context = Context(lambda _: client, InformerFactory(client, clock), clock, ClusterFacts(), discover)
    runner = Runner(context, kinds)
    runner.start()
    await clock.advance(0)
    try:
        yield client
    finally:
        await runner.stop()


def config_map(name: str, *owners: Object, block: bool = True, **meta: Any) -> Object:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for o in owners
    ]
    metadata = {"name": name, "namespace": "default", **({"ownerReferences": references} if owners else {}), **meta}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def names(cluster: FakeCluster, plural: str = "configmaps") -> list[str]:
    return [o["metadata"]["name"] for o in cluster.objects(plural)]


def test_background_deletion_follows_the_owners_down(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        kinds = (GarbageCollector, DeploymentController, ReplicaSetController)
        async with running(cluster, clock, *kinds) as client:
            await client.deployments.create(deployment(30))
            await clock.advance(0.5)
            assert len(cluster.objects("pods")) == 30
            await client.deployments.delete("web", "default", propagation="Background")
            await clock.advance(0.5)
            assert names(cluster, "deployments") == names(cluster, "replicasets") == names(cluster, "pods") == []

    run(work())


def test_foreground_deletion_waits_for_dependents_that_block(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, GarbageCollector) as client:
            owner = await client.config_maps.create(config_map("owner"))
            await client.config_maps.create(config_map("held", owner, finalizers=["test/held"]))
            await client.config_maps.create(config_map("free", owner, block=False, finalizers=["test/held"]))
            await clock.advance(0.1)
            await client.config_maps.delete("owner", "default", propagation="Foreground")
            await clock.advance(0.5)
            assert names(cluster) == ["free", "held", "owner"]
            await client.config_maps.patch("held", {"metadata": {"finalizers": None}}, "default")
            await clock.advance(0.5)
            assert names(cluster) == ["free"]

    run(work())


def test_orphans_stay_and_lose_the_reference(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, GarbageCollector) as client:
            owner = await client.config_maps.create(config_map("owner"))
            await client.config_maps.create(config_map("child", owner))
            await clock.advance(0.1)
            await client.config_maps.delete("owner", "default", propagation="Orphan")
            await clock.advance(0.5)
            (child,) = cluster.objects("configmaps")
            assert child["metadata"]["name"] == "child"
            assert not child["metadata"]["ownerReferences"]

    run(work())


def test_a_second_owner_keeps_an_object_and_a_dead_one_does_not(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, GarbageCollector) as client:
            one = await client.config_maps.create(config_map("one"))
            two = await client.config_maps.create(config_map("two"))
            await client.config_maps.create(config_map("child", one, two))
            await client.config_maps.delete("one", "default")
            await clock.advance(0.5)
            assert names(cluster) == ["child", "two"]
            child = await client.config_maps.get("child", "default")
            assert [ref["name"] for ref in child["metadata"]["ownerReferences"]] == ["two"]
            ghost = {"metadata": {"name": "ghost", "uid": "never-was"}}
            await client.config_maps.create(config_map("haunted", ghost))
            await clock.advance(0.5)
            assert names(cluster) == ["child", "two"]

    run(work())


def test_references_that_lead_nowhere(run) -> None:
    """What has no namespace may not be owned from one, and stays; a wrong name says nothing about other references."""

    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        owner = await Client(cluster).secrets.create({"kind": "Secret", "metadata": {"name": "o", "namespace": "x"}})
        async with running(cluster, clock, GarbageCollector) as client:
            reference = {"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": owner["metadata"]["uid"]}
            wide = {"name": "n", "ownerReferences": [reference]}
            await client.nodes.create({"apiVersion": "v1", "kind": "Node", "metadata": wide})
            await clock.advance(0.5)
            assert names(cluster, "nodes") == ["n"]

            # Events are not watched: such an owner is asked for.
            event = await client.events.create({"kind": "Event", "metadata": {"name": "e", "namespace": "default"}})
            by_event = {"apiVersion": "v1", "kind": "Event", "uid": event["metadata"]["uid"]}
            for name, owner_name in (("a", "typo"), ("b", "e")):
                references = [{**by_event, "name": owner_name}]
                await client.config_maps.create(config_map(name, ownerReferences=references))
                await clock.advance(0.5)
            assert names(cluster) == ["b"]

    run(work())


def test_two_that_own_each_other_go_in_the_foreground(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, GarbageCollector) as client:
            one = await client.config_maps.create(config_map("one"))
            two = await client.config_maps.create(config_map("two", one))
            body = config_map("one", two)
            await client.config_maps.update({**one, "metadata": {**one["metadata"], **body["metadata"]}})
            await clock.advance(0.5)
            assert names(cluster) == ["one", "two"]
            await client.config_maps.delete("one", "default", propagation="Foreground")
            await clock.advance(2)
            assert names(cluster) == []

    run(work())


def test_a_namespace_goes_after_its_pods_and_then_its_content(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, NamespaceController) as client:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
            await client.namespaces.create({**body, "spec": {"finalizers": ["kubernetes"]}})
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"}}
            await client.pods.create({**pod, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}})
            await client.config_maps.create({**config_map("c"), "metadata": {"name": "c", "namespace": "x"}})
            await client.config_maps.create({**config_map("c")})
            await client.namespaces.delete("x")
            await clock.advance(2.5)
            assert names(cluster, "pods") == ["p"]
            assert len(names(cluster)) == 2  # nothing else goes while a pod runs
            (namespace,) = cluster.objects("namespaces")
            remaining = {c["type"]: c for c in namespace["status"]["conditions"]}["NamespaceContentRemaining"]
            assert remaining["status"] == "True"
            assert remaining["message"] == "Some resources are remaining: pods. has 1 resource instances"
            await client.pods.delete("p", "x", grace_period=0)
            await clock.advance(0.2)
            assert names(cluster, "namespaces") == []
            assert [o["metadata"]["namespace"] for o in cluster.objects("configmaps")] == ["default"]

    run(work())


def test_pods_of_a_node_that_is_gone(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, PodGarbageCollector) as client:
            await client.nodes.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}}
            await client.pods.create({**pod, "spec": {"nodeName": "n"}})
            await clock.advance(100)
            await client.nodes.delete("n")
            await clock.advance(39)
            assert names(cluster, "pods") == ["p"]
            await clock.advance(2)
            assert names(cluster, "pods") == []

    run(work())


def test_surplus_takes_evicted_pods_and_old_ones_first() -> None:
    def pod(name: str, created: str, reason: str = "") -> Object:
        return {"metadata": {"name": name, "creationTimestamp": created}, "status": {"reason": reason}}

    pods = [pod("new", "3"), pod("old", "1"), pod("evicted", "2", "Evicted")]
    assert [p["metadata"]["name"] for p in surplus(pods, 1)] == ["evicted", "old"]
    assert surplus(pods, 3) == []
