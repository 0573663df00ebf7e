"""The scheduler against the fake cluster: binding, conditions, events, waiting, gates, back-off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

from groundplane.client.client import Client
from groundplane.client.contract import ApiError, Object, Request
from groundplane.client.informer import InformerFactory
from groundplane.scheduler.loop import Scheduler


def node(name: str, cpu: str = "4", **spec: Any) -> Object:
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec, "status": status}


def pod(name: str, cpu: str = "1", **spec: Any) -> Object:
    container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


@asynccontextmanager
async def running(cluster: FakeCluster, clock: VirtualClock) -> AsyncIterator[Client]:
    client = Client(cluster)
    informers = InformerFactory(client, clock)
    scheduler = Scheduler(client, informers, clock, seed=1)
    scheduler.start()
    await clock.advance(0)
    try:
        yield client
    finally:
        await scheduler.stop()
        await informers.stop()


def placed(cluster: FakeCluster) -> dict[str, str]:
    return {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in cluster.objects("pods")}


def test_pods_are_bound_and_the_event_says_so(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock) as client:
            for name in ("a", "b"):
                await client.nodes.create(node(name))
            for number in range(8):
                await client.pods.create(pod(f"p{number}"))
            await clock.advance(0.1)
            assert sorted(placed(cluster).values()) == ["a"] * 4 + ["b"] * 4
            (event,) = [e for e in cluster.objects("events") if e["involvedObject"]["name"] == "p0"]
            assert event["message"] == f"Successfully assigned default/p0 to {placed(cluster)['p0']}"
            assert (event["type"], event["reason"], event["action"]) == ("Normal", "Scheduled", "Binding")
            assert event["reportingComponent"] == "default-scheduler"

    run(work())


def test_a_pod_waits_until_something_that_helps(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock) as client:
            await client.nodes.create(node("a", cpu="1"))
            await client.pods.create(pod("big", cpu="2"))
            await clock.advance(0.1)
            (big,) = cluster.objects("pods")
            (condition,) = big["status"]["conditions"]
            assert (condition["type"], condition["status"], condition["reason"]) == (
                "PodScheduled",
                "False",
                "Unschedulable",
            )
            assert condition["message"].startswith("0/1 nodes are available: 1 Insufficient cpu. no new claims")
            (event,) = cluster.objects("events")
            assert (event["type"], event["reason"], event["action"]) == ("Warning", "FailedScheduling", "Scheduling")
            calls = len(cluster.calls)
            await clock.advance(60)
            await client.nodes.create(node("small", cpu="1"))  # does not help, so nothing is tried
            await clock.advance(1)
            assert len(cluster.calls) == calls + 1
            await client.nodes.create(node("large", cpu="2"))
            await clock.advance(0.1)
            assert placed(cluster) == {"big": "large"}

    run(work())


def test_room_made_by_a_pod_that_ends(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock) as client:
            await client.nodes.create(node("a", cpu="2"))
            await client.pods.create(pod("first", cpu="2"))
            await clock.advance(0.1)
            await client.pods.create(pod("second", cpu="2"))
            await clock.advance(5)
            assert placed(cluster) == {"first": "a", "second": ""}
            first = await client.pods.get("first", "default")
            await client.pods.update_status({**first, "status": {"phase": "Succeeded"}})
            await clock.advance(0.1)
            assert placed(cluster)["second"] == "a"

    run(work())


def test_gates_names_and_priorities(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock) as client:
            await client.pods.create(pod("gated", schedulingGates=[{"name": "g"}]))
            await client.pods.create(pod("others", schedulerName="mine"))
            await client.nodes.create(node("a", cpu="8"))
            await clock.advance(1)
            assert placed(cluster) == {"gated": "", "others": ""}
            gated = await client.pods.get("gated", "default")
            spec = {k: v for k, v in gated["spec"].items() if k != "schedulingGates"}
            await client.pods.update({**gated, "spec": spec})
            await clock.advance(0.1)
            assert placed(cluster) == {"gated": "a", "others": ""}
            await client.nodes.update({**(await client.nodes.get("a")), "spec": {"unschedulable": True}})
            await clock.advance(0.1)
            await client.pods.create(pod("low", cpu="7"))
            await client.pods.create(pod("high", cpu="7", priority=1000))
            await clock.advance(30)
            await client.nodes.update({**(await client.nodes.get("a")), "spec": {}})
            await clock.advance(0.1)
            assert placed(cluster)["high"] == "a"
            assert placed(cluster)["low"] == ""

    run(work())


def test_a_refused_binding_is_tried_again_after_its_back_off(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        refusals = 2

        def refuse(request: Request) -> ApiError | None:
            nonlocal refusals
            if request.path.endswith("/binding") and refusals:
                refusals -= 1
                return ApiError({"kind": "Status", "code": 500, "message": "no"})
            return None

        cluster.refuse = refuse
        async with running(cluster, clock) as client:
            await client.nodes.create(node("a"))
            await client.pods.create(pod("p", cpu="4"))  # the void assumption must free the whole node again
            await clock.advance(0.9)
            assert placed(cluster) == {"p": ""}
            await clock.advance(0.5)
            assert placed(cluster) == {"p": ""}
            await clock.advance(2)
            assert placed(cluster) == {"p": "a"}

    run(work())
