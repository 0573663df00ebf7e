"""Admission plug-ins over a memory store: what they add, and what they refuse in upstream's words."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.fakes.machine import Bench, bench

PODS = "/api/v1/namespaces/default/pods"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


async def limits(b: Bench, **limit: Any) -> None:
    body = {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", **limit}]}}
    await b.ok("POST", "/api/v1/namespaces/default/limitranges", body)


def test_a_pod_gets_its_account_and_token() -> None:
    async def work() -> None:
        async with bench() as b:
            spec = (await b.ok("POST", PODS, pod()))["spec"]
            assert spec["serviceAccountName"] == "default"
            volume = spec["volumes"][0]
            assert volume["name"].startswith("kube-api-access-")
            assert [next(iter(s)) for s in volume["projected"]["sources"]] == [
                "serviceAccountToken", "configMap", "downwardAPI",
            ]  # fmt: skip
            mount = spec["containers"][0]["volumeMounts"][0]
            assert (mount["name"], mount["readOnly"]) == (volume["name"], True)
            missing = await b.refused("POST", PODS, pod("q", serviceAccountName="nobody"))
            assert missing["message"] == (
                'pods "q" is forbidden: error looking up service account default/nobody: '
                'serviceaccount "nobody" not found'
            )
            bare = await b.ok("POST", PODS, pod("r", automountServiceAccountToken=False))
            assert "volumes" not in bare["spec"]

    run(work())


def test_priority_comes_from_the_class() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", CLASSES, {"metadata": {"name": "high"}, "value": 100, "preemptionPolicy": "Never"})
            await b.ok("POST", CLASSES, {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True})
            high = (await b.ok("POST", PODS, pod("a", priorityClassName="high")))["spec"]
            assert (high["priority"], high["preemptionPolicy"]) == (100, "Never")
            usual = (await b.ok("POST", PODS, pod("b")))["spec"]
            assert (usual["priority"], usual["priorityClassName"]) == (5, "usual")
            second = await b.refused("POST", CLASSES, {"metadata": {"name": "x"}, "value": 1, "globalDefault": True})
            assert "already marked as default" in second["message"]
            assert (await b.refused("POST", PODS, pod("c", priority=7)))["code"] == 403

    run(work())


def test_tolerations_are_added_once() -> None:
    async def work() -> None:
        async with bench() as b:
            given = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
            found = (await b.ok("POST", PODS, pod(tolerations=given)))["spec"]["tolerations"]
            assert [t["key"].rpartition("/")[2] for t in found] == ["not-ready", "unreachable"]
            assert "tolerationSeconds" not in found[0]

    run(work())


def test_limits_fill_in_and_refuse() -> None:
    async def work() -> None:
        async with bench() as b:
            await limits(b, default={"cpu": "200m"}, defaultRequest={"cpu": "100m"}, max={"cpu": "1"})
            filled = await b.ok("POST", PODS, pod("a"))
            assert filled["spec"]["containers"][0]["resources"] == {
                "limits": {"cpu": "200m"}, "requests": {"cpu": "100m"},
            }  # fmt: skip
            large = pod("b")
            large["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
            refused = await b.refused("POST", PODS, large)
            assert refused["message"].endswith("maximum cpu usage per Container is 1, but limit is 2")

    run(work())


def test_volumes_are_held_while_in_use_and_get_the_default_class() -> None:
    async def work() -> None:
        async with bench() as b:
            classes = "/apis/storage.k8s.io/v1/storageclasses"
            notes = {"storageclass.kubernetes.io/is-default-class": "true"}
            await b.ok("POST", classes, {"metadata": {"name": "d", "annotations": notes}, "provisioner": "x.y/z"})
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            claim = await b.ok(
                "POST", "/api/v1/namespaces/default/persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": spec}
            )
            assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
            assert claim["spec"]["storageClassName"] == "d"

    run(work())


def test_namespaces_come_before_what_is_in_them() -> None:
    async def work() -> None:
        async with bench() as b:
            missing = await b.refused("POST", "/api/v1/namespaces/none/configmaps", {"metadata": {"name": "a"}})
            assert (missing["code"], missing["message"]) == (404, 'namespaces "none" not found')
            kept = await b.refused("DELETE", "/api/v1/namespaces/default")
            assert "this namespace may not be deleted" in kept["message"]

    run(work())


def test_a_new_node_is_not_ready() -> None:
    async def work() -> None:
        async with bench() as b:
            node = await b.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
            assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]

    run(work())
