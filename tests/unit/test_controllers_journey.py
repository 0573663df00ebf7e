"""Deployment and ReplicaSet controllers together on the fake cluster, a scripted node making pods ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

from groundplane.base.clock import rfc3339
from groundplane.client.client import Client
from groundplane.client.contract import Object
from groundplane.client.informer import InformerFactory
from groundplane.client.objects import replace_in
from groundplane.client.resources import Resource
from groundplane.controllers.deployment.loop import DeploymentController
from groundplane.controllers.replicaset.loop import ReplicaSetController
from groundplane.controllers.runner import ClusterFacts, Context, Controller, Runner


async def no_resources() -> Sequence[Resource]:
    return ()


@asynccontextmanager
async def running(cluster: FakeCluster, clock: VirtualClock, *kinds: type[Controller[Any]]) -> AsyncIterator[Client]:
    client = Client(cluster)
    context = Context(lambda _: client, InformerFactory(client, clock), clock, ClusterFacts(), no_resources)
    runner = Runner(context, kinds)
    runner.start()
    await clock.advance(0)
    try:
        yield client
    finally:
        await runner.stop()


def deployment(replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


async def make_ready(cluster: FakeCluster, client: Client, clock: VirtualClock, image: str = "") -> int:
    """The node: every live pod (of an image) that is not ready becomes so."""
    count = 0
    for pod in cluster.objects("pods"):
        if pod.get("status", {}).get("phase") == "Running" or pod["metadata"].get("deletionTimestamp"):
            continue
        if image and pod["spec"]["containers"][0]["image"] != image:
            continue
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(clock.time())}
        await client.pods.update_status({**pod, "status": {"phase": "Running", "conditions": [ready]}})
        count += 1
    await clock.advance(0.2)
    return count


def conditions(obj: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"].get("conditions", ())}


def images(cluster: FakeCluster) -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in cluster.objects("pods"))


def test_create_roll_out_scale_and_delete_pods(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, DeploymentController, ReplicaSetController) as client:
            await client.deployments.create(deployment(30))
            await clock.advance(0.5)
            assert len(cluster.objects("pods")) == 30
            (web,) = cluster.objects("deployments")
            assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
            assert conditions(web)["Progressing"][1] in ("NewReplicaSetCreated", "ReplicaSetUpdated")
            assert conditions(web)["Available"] == ("False", "MinimumReplicasUnavailable")
            assert await make_ready(cluster, client, clock) == 30
            (web,) = cluster.objects("deployments")
            assert conditions(web) == {
                "Available": ("True", "MinimumReplicasAvailable"),
                "Progressing": ("True", "NewReplicaSetAvailable"),
            }
            assert web["status"]["readyReplicas"] == 30
            assert web["status"]["observedGeneration"] == 1

            template = deployment(30, "web:2")["spec"]["template"]
            await client.deployments.update(replace_in(web, ("spec", "template"), template))
            await clock.advance(0.5)
            lowest = 30
            for _ in range(12):
                ready = sum(1 for p in cluster.objects("pods") if p.get("status", {}).get("phase") == "Running")
                lowest = min(lowest, ready)
                assert len(cluster.objects("pods")) <= 38
                if not await make_ready(cluster, client, clock):
                    break
            assert lowest >= 23
            assert images(cluster) == ["web:2"] * 30
            (web,) = cluster.objects("deployments")
            assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
            assert conditions(web)["Progressing"] == ("True", "NewReplicaSetAvailable")
            assert sorted(s["spec"]["replicas"] for s in cluster.objects("replicasets")) == [0, 30]

            await client.deployments.patch("web", {"spec": {"replicas": 2}}, "default")
            await clock.advance(0.5)
            assert len(cluster.objects("pods")) == 2
            (web,) = cluster.objects("deployments")
            assert web["status"]["replicas"] == 2
            messages = [e["message"] for e in cluster.objects("events") if e["reason"] == "ScalingReplicaSet"]
            first = next(
                s
                for s in cluster.objects("replicasets")
                if s["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
            )
            assert f"Scaled up replica set {first['metadata']['name']} from 0 to 30" in messages

    run(work())


def test_a_rollback_gives_the_old_set_the_next_revision(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, DeploymentController, ReplicaSetController) as client:
            await client.deployments.create(deployment(1, "web:1"))
            for image in ("web:2", "web:1"):
                await clock.advance(0.2)
                await make_ready(cluster, client, clock)
                (web,) = cluster.objects("deployments")
                template = deployment(1, image)["spec"]["template"]
                await client.deployments.update(replace_in(web, ("spec", "template"), template))
            for _ in range(4):
                await clock.advance(0.2)
                await make_ready(cluster, client, clock)
            assert images(cluster) == ["web:1"]
            notes = [s["metadata"]["annotations"] for s in cluster.objects("replicasets")]
            revisions = sorted(n["deployment.kubernetes.io/revision"] for n in notes)
            assert revisions == ["2", "3"]
            assert "1" in [n.get("deployment.kubernetes.io/revision-history") for n in notes]

    run(work())


def test_recreate_waits_for_the_last_old_pod(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, DeploymentController, ReplicaSetController) as client:
            await client.deployments.create(deployment(2, strategy={"type": "Recreate"}))
            await clock.advance(0.2)
            for pod in cluster.objects("pods"):  # on a node: deletion is graceful
                await client.pods.update(
                    {**pod, "spec": {**pod["spec"], "nodeName": "n", "terminationGracePeriodSeconds": 30}}
                )
            await make_ready(cluster, client, clock)
            (web,) = cluster.objects("deployments")
            template = deployment(2, "web:2")["spec"]["template"]
            await client.deployments.update(replace_in(web, ("spec", "template"), template))
            await clock.advance(0.5)
            assert images(cluster) == ["web:1", "web:1"]
            assert all(p["metadata"].get("deletionTimestamp") for p in cluster.objects("pods"))
            for pod in cluster.objects("pods"):
                await client.pods.delete(pod["metadata"]["name"], "default", grace_period=0)
            await clock.advance(0.5)
            assert images(cluster) == ["web:2", "web:2"]

    run(work())


def test_the_progress_deadline_is_told_once_it_has_passed(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, DeploymentController, ReplicaSetController) as client:
            await client.deployments.create(deployment(1, progressDeadlineSeconds=60))
            await clock.advance(59)
            assert conditions(cluster.objects("deployments")[0])["Progressing"][0] == "True"
            await clock.advance(5)
            assert conditions(cluster.objects("deployments")[0])["Progressing"] == ("False", "ProgressDeadlineExceeded")
            await make_ready(cluster, client, clock)
            assert conditions(cluster.objects("deployments")[0])["Progressing"] == ("True", "NewReplicaSetAvailable")

    run(work())


def test_a_paused_deployment_scales_but_does_not_roll_out(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, DeploymentController, ReplicaSetController) as client:
            await client.deployments.create(deployment(2))
            await clock.advance(0.2)
            await make_ready(cluster, client, clock)
            (web,) = cluster.objects("deployments")
            spec = {
                **web["spec"],
                "paused": True,
                "replicas": 4,
                "template": deployment(2, "web:2")["spec"]["template"],
            }
            await client.deployments.update({**web, "spec": spec})
            await clock.advance(0.5)
            assert images(cluster) == ["web:1"] * 4
            assert conditions(cluster.objects("deployments")[0])["Progressing"] == ("Unknown", "DeploymentPaused")
            await client.deployments.patch("web", {"spec": {"paused": None}}, "default")
            for _ in range(6):
                await clock.advance(0.2)
                await make_ready(cluster, client, clock)
            assert images(cluster) == ["web:2"] * 4
            reasons = {e["reason"] for e in cluster.objects("events")}
            assert {"ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"} <= reasons

    run(work())


def test_idle_controllers_write_nothing(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        async with running(cluster, clock, DeploymentController, ReplicaSetController) as client:
            await client.deployments.create(deployment(3))
            await clock.advance(0.5)
            await make_ready(cluster, client, clock)
            await clock.advance(5)
            calls = len(cluster.calls)
            await clock.advance(3000)
            await asyncio.sleep(0)
            assert len(cluster.calls) == calls

    run(work())
