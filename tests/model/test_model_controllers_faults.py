"""Controllers and scheduler while the API server fails at random: whatever happens on the way, the end is right.

Each call may be lost before it is carried out, carried out with the answer lost, or refused; each watch may be cut, or
told that its revision is gone. When the faults end, there must be exactly the pods that were asked for, bound, and
endpoints for exactly those.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

from groundplane.client import resources as r
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object, Request, Response, WatchEvent
from groundplane.client.informer import InformerFactory
from groundplane.client.resources import Resource
from groundplane.controllers.deployment.loop import DeploymentController
from groundplane.controllers.endpointslice.loop import EndpointSliceController
from groundplane.controllers.garbagecollector.loop import GarbageCollector
from groundplane.controllers.replicaset.loop import ReplicaSetController
from groundplane.controllers.runner import ClusterFacts, Context, Runner
from groundplane.scheduler.loop import Scheduler


class FaultyTransport:
    """The way to a good server, which fails as `chance` says while `faulty`."""

    def __init__(self, cluster: FakeCluster, clock: VirtualClock, chance: random.Random) -> None:
        self._cluster = cluster
        self._clock = clock
        self._chance = chance
        self.faulty = True

    async def send(self, request: Request) -> Response:
        dice = self._chance.random() if self.faulty else 1.0
        if dice < 0.05:
            raise ConnectionLost("lost on the way there")
        if dice < 0.10:
            return Response(500, {"kind": "Status", "code": 500, "reason": "InternalError", "message": "fault"})
        for _ in range(self._chance.randrange(6)):
            await asyncio.sleep(0)
        response = await self._cluster.send(request)
        if dice < 0.15:
            raise ConnectionLost("lost on the way back")
        return response

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[WatchEvent, None]:
        async for event in self._cluster.watch(path, query):
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            dice = self._chance.random() if self.faulty else 1.0
            if dice < 0.02:
                raise ConnectionLost("cut")
            if dice < 0.03:
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                raise ApiError(gone)
            yield event

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        raise ConnectionLost("no logs here")
        yield b""

    async def close(self) -> None:
        pass


async def known() -> tuple[Resource, ...]:
    return (r.PODS, r.DEPLOYMENTS, r.REPLICA_SETS, r.SERVICES, r.ENDPOINT_SLICES)


def deployment(replicas: int, image: str) -> Object:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
            "revisionHistoryLimit": 10,
        },
    }


async def run_pods(cluster: FakeCluster, user: Client, numbers: dict[str, int]) -> None:
    """The node: bound pods get an address and become ready."""
    for pod in cluster.objects("pods"):
        if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") != "Running":
            number = numbers.setdefault(pod["metadata"]["uid"], len(numbers) + 1)
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            status = {"phase": "Running", "podIP": f"10.244.0.{number}", "conditions": [ready]}
            await user.pods.update_status({**pod, "status": {**pod.get("status", {}), **status}})


@pytest.mark.parametrize("seed", range(12))
def test_the_end_is_right_whatever_fails_on_the_way(run, seed: int) -> None:
    async def work() -> None:
        chance = random.Random(seed)
        random.seed(seed)  # the jitter of back-offs
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        transport = FaultyTransport(cluster, clock, chance)
        user, client = Client(cluster), Client(transport)
        informers = InformerFactory(client, clock)
        context = Context(lambda _: client, informers, clock, ClusterFacts(), known)
        kinds = (DeploymentController, ReplicaSetController, EndpointSliceController, GarbageCollector)
        runner = Runner(context, kinds)
        scheduler = Scheduler(client, informers, clock, seed=seed)
        runner.start()
        scheduler.start()
        room = {"cpu": "64", "memory": "64Gi", "pods": "500"}
        await user.nodes.create({"kind": "Node", "metadata": {"name": "n"}, "status": {"allocatable": room}})
        meta = {"name": "web", "namespace": "default"}
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        await user.services.create({"metadata": meta, "spec": {"selector": {"app": "web"}, "ports": ports}})
        await user.deployments.create(deployment(8, "web:0"))
        numbers: dict[str, int] = {}
        wanted, image = 8, "web:0"
        for step in range(6):
            for _ in range(chance.randrange(1, 5)):
                await clock.advance(chance.choice([0.01, 0.3, 3.0]))
                await run_pods(cluster, user, numbers)
            wanted, image = chance.randrange(0, 12), f"web:{chance.randrange(3)}"
            template = deployment(wanted, image)["spec"]["template"]
            await user.deployments.patch("web", {"spec": {"replicas": wanted, "template": template}}, "default")
            if step == 3 and (pods := cluster.objects("pods")):
                victim = chance.choice(pods)["metadata"]
                await user.pods.delete(victim["name"], "default", grace_period=0)
        transport.faulty = False
        for _ in range(60):
            await clock.advance(10)
            await run_pods(cluster, user, numbers)
        await check(cluster, wanted, image)
        settled = len(cluster.writes(""))
        await clock.advance(1000)
        assert len(cluster.writes("")) == settled
        await user.deployments.delete("web", "default")
        await clock.advance(100)
        assert cluster.objects("pods") == cluster.objects("replicasets") == []
        await scheduler.stop()
        await runner.stop()

    run(work())


async def check(cluster: FakeCluster, wanted: int, image: str) -> None:
    pods = cluster.objects("pods")
    assert [p["spec"]["containers"][0]["image"] for p in pods] == [image] * wanted
    assert all(p["spec"].get("nodeName") == "n" for p in pods)
    (web,) = cluster.objects("deployments")
    assert web["status"].get("availableReplicas", 0) == wanted
    assert web["status"]["observedGeneration"] == web["metadata"]["generation"]
    assert sum(s["spec"]["replicas"] for s in cluster.objects("replicasets")) == wanted
    told = [e["addresses"][0] for s in cluster.objects("endpointslices") for e in s["endpoints"] or ()]
    assert sorted(told) == sorted(p["status"]["podIP"] for p in pods)
