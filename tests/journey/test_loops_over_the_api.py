"""Controllers and scheduler over the real API server (memory store), a scripted node in place of a kubelet.

What a user sees: a Deployment becomes bound, ready pods; a rollout replaces them; deleting it, or its namespace, leaves
nothing. Everything here goes through authorization with upstream's bootstrap roles, as in production.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.fakes.kubeletless import cluster

from groundplane.client.client import Client
from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import Informer
from groundplane.client.objects import is_deleting, labels_of, name_of, namespace_of, replace_in, version_of
from groundplane.client.resources import (
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
)


def deployment(replicas: int, image: str, namespace: str) -> Object:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }


def available(informer: Informer, namespace: str, generation: int = 1) -> int:
    """How many replicas serve, all of the newest template; -1 while the controller is behind."""
    web = informer.cache.get("web", namespace)
    status = (web or {}).get("status") or {}
    if status.get("observedGeneration", 0) < generation:
        return -1
    if status.get("updatedReplicas") != status.get("replicas"):
        return -1
    return int(status.get("availableReplicas") or 0)


def test_a_deployment_from_create_to_namespace_gone(run, state_root: Path) -> None:
    async def work() -> None:
        async with cluster(state_root) as found:
            user, watcher = found.user, found.watcher
            pods, sets, webs = watcher.cache(PODS), watcher.cache(REPLICA_SETS), watcher.cache(DEPLOYMENTS)
            slices, maps, spaces = watcher.cache(ENDPOINT_SLICES), watcher.cache(CONFIG_MAPS), watcher.cache(NAMESPACES)
            await user.namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
            await watcher.until(lambda: maps.cache.get("kube-root-ca.crt", "shop") is not None)
            assert "BEGIN CERTIFICATE" in maps.cache.get("kube-root-ca.crt", "shop")["data"]["ca.crt"]
            service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
            meta = {"name": "web", "namespace": "shop"}
            await user.services.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service})

            started = time.monotonic()
            await user.deployments.create(deployment(30, "web:1", "shop"))
            await watcher.until(lambda: available(webs, "shop") == 30)
            print(f"30 replicas available after {time.monotonic() - started:.3f} s")
            assert {pod["spec"]["nodeName"] for pod in pods.cache.list("shop")} == {"n1"}

            def backends() -> int:
                mine = [s for s in slices.cache.list("shop") if labels_of(s)["kubernetes.io/service-name"] == "web"]
                return sum(1 for s in mine for e in s["endpoints"] or () if e["conditions"]["ready"])

            await watcher.until(lambda: backends() == 30)
            node = await user.nodes.get("n1")
            assert node["spec"]["podCIDR"] == "10.244.0.0/24"

            web = await user.deployments.get("web", "shop")
            template = deployment(30, "web:2", "shop")["spec"]["template"]
            await user.deployments.update(replace_in(web, ("spec", "template"), template))
            await watcher.until(lambda: available(webs, "shop", generation=2) == 30)
            images = {p["spec"]["containers"][0]["image"] for p in pods.cache.list("shop") if not is_deleting(p)}
            assert images == {"web:2"}
            web = webs.cache.get("web", "shop")
            assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
            assert sorted(s["spec"]["replicas"] for s in sets.cache.list("shop")) == [0, 30]

            started = time.monotonic()
            await user.deployments.delete("web", "shop")
            await watcher.until(lambda: not pods.cache.list("shop") and not sets.cache.list("shop"))
            print(f"deleted with its pods after {time.monotonic() - started:.3f} s")

            await user.deployments.create(deployment(3, "web:3", "shop"))
            await watcher.until(lambda: available(webs, "shop") == 3)
            started = time.monotonic()
            await user.namespaces.delete("shop")
            await watcher.until(lambda: spaces.cache.get("shop") is None)
            print(f"namespace gone after {time.monotonic() - started:.3f} s")
            for informer in (pods, sets, webs, slices, maps):
                await watcher.until(lambda cache=informer.cache: not cache.list("shop"))
            events, _ = await user.events.list_all("default")
            assert not [e for e in events if e["reason"].startswith("Failed")]

    run(work())


def test_a_pod_too_large_says_why_and_fits_a_new_node(run, state_root: Path) -> None:
    async def work() -> None:
        async with cluster(state_root) as found:
            user, watcher = found.user, found.watcher
            pods = watcher.cache(PODS)
            container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": "100"}}}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "big"}, "spec": {"containers": [container]}}

            async def created() -> None:
                async with asyncio.timeout(60):
                    while True:  # the service account controller makes the account that admission asks for
                        try:
                            await user.pods.create(body, "default")
                            return
                        except ApiError as error:
                            assert error.code == 403
                            await asyncio.sleep(0.02)

            await created()

            def condition() -> Object:
                big = pods.cache.get("big", "default") or {}
                found = (big.get("status") or {}).get("conditions") or ()
                return next((c for c in found if c["type"] == "PodScheduled"), {})

            await watcher.until(lambda: condition().get("reason") == "Unschedulable")
            assert condition()["message"] == (
                "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
                "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            )
            room = {"cpu": "128", "memory": "64Gi", "pods": "10"}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}
            made = await user.nodes.create(node)
            ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
            await user.nodes.update_status({**made, "status": {"allocatable": room, "conditions": ready}})
            await watcher.until(lambda: (pods.cache.get("big", "default") or {})["spec"].get("nodeName") == "n2")

    run(work())


def test_a_restart_of_all_loops_changes_nothing(run, state_root: Path) -> None:
    async def work() -> None:
        async with cluster(state_root) as found:
            user, watcher = found.user, found.watcher
            webs, accounts = watcher.cache(DEPLOYMENTS), watcher.cache(SERVICE_ACCOUNTS)
            await watcher.until(lambda: accounts.cache.get("default", "default") is not None)
            service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
            meta = {"name": "web", "namespace": "default"}
            await user.services.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service})
            await user.deployments.create(deployment(5, "web:1", "default"))
            await watcher.until(lambda: available(webs, "default") == 5)
            await quiet(user)
            before = await versions(user)
            await found.restart()
            await quiet(user)
            assert await versions(user) == before
            await user.deployments.patch("web", {"spec": {"replicas": 7}}, "default")
            await watcher.until(lambda: available(webs, "default", generation=2) == 7)

    run(work())


async def versions(user: Client) -> dict[str, str]:
    """Everything but leases and events by its version. (A controller that starts says that it has registered nodes.)"""
    kinds = (PODS, REPLICA_SETS, DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, CONFIG_MAPS, NODES, NAMESPACES, CLUSTER_ROLES)
    found = {}
    for kind in (*kinds, SERVICE_ACCOUNTS):
        items, _ = await user.of(kind).list_all()
        found |= {f"{kind.plural}/{namespace_of(o)}/{name_of(o)}": version_of(o) for o in items}
    return found


async def quiet(user: Client) -> None:
    """Return once nothing has changed for half a second in which everything had its turn.

    All of it lives in this event loop: who waits for a time has got it after the sleep, and a process that was not
    running meanwhile makes up for it in the turns.
    """
    last: dict[str, str] = {}
    while last != (last := await versions(user)):
        await asyncio.sleep(0.5)
        for _ in range(1000):
            await asyncio.sleep(0)
