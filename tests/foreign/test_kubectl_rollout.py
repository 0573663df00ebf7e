"""The real kubectl rolling applications out, controllers and scheduler being clients over TLS like kubectl itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes.kubeletless import cluster

from groundplane.client.resources import PODS, SERVICE_ACCOUNTS

pytestmark = pytest.mark.needs("kubectl")

Kubectl = Callable[..., Awaitable[str]]


def kubectl_of(root: Path) -> Kubectl:
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "KUBECONFIG": str(root / "admin.kubeconfig")}

    async def call(*args: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl", *args, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(), 40)
        text = output.decode()
        assert process.returncode == 0, f"kubectl {' '.join(args)}: {text}"
        return text

    return call


def test_rollouts_as_people_do_them(run, state_root: Path) -> None:
    async def work() -> None:
        async with cluster(state_root, over_tls=True) as found:
            watcher = found.watcher
            kubectl = kubectl_of(state_root)
            accounts, pods = watcher.cache(SERVICE_ACCOUNTS), watcher.cache(PODS)
            await watcher.until(lambda: accounts.cache.get("default", "default") is not None)

            await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
            assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
            await kubectl("expose", "deployment", "web", "--port=80")
            await kubectl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=30s")

            await kubectl("set", "image", "deployment/web", "web=web:2")
            await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
            history = await kubectl("rollout", "history", "deployment/web")
            assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]
            assert "web:1" in await kubectl("rollout", "history", "deployment/web", "--revision=1")

            await kubectl("rollout", "undo", "deployment/web")
            await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
            image = "jsonpath={.items[*].spec.containers[0].image}"
            assert await kubectl("get", "pods", "-o", image) == "web:1 web:1 web:1"
            history = await kubectl("rollout", "history", "deployment/web")
            assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]

            await kubectl("rollout", "pause", "deployment/web")
            await kubectl("set", "image", "deployment/web", "web=web:3")
            await kubectl("scale", "deployment/web", "--replicas=5")
            await kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=30s")
            assert await kubectl("get", "pods", "-o", image) == " ".join(["web:1"] * 5)
            await kubectl("rollout", "resume", "deployment/web")
            await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
            assert await kubectl("get", "pods", "-o", image) == " ".join(["web:3"] * 5)
            await kubectl("rollout", "restart", "deployment/web")
            await kubectl("rollout", "status", "deployment/web", "--timeout=30s")

            described = await kubectl("describe", "deployment", "web")
            assert "NewReplicaSet:   web-" in described
            assert "ScalingReplicaSet" in described
            endpoints = await kubectl(
                "get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}"
            )
            assert endpoints.split().count("true") >= 5
            event = await kubectl("get", "events", "--field-selector", "reason=Scheduled")
            assert "Successfully assigned default/web-" in event

            await kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
            assert not pods.cache.list("default")
            await kubectl("create", "deployment", "left", "--image=web:1")
            await kubectl("rollout", "status", "deployment/left", "--timeout=30s")
            await kubectl("delete", "deployment", "left", "--cascade=orphan", "--timeout=30s")
            assert (await kubectl("get", "replicasets", "-o", "name")).startswith("replicaset.apps/left-")
            await kubectl("delete", "replicaset", "--all", "--timeout=30s")
            await watcher.until(lambda: not pods.cache.list("default"))

            await kubectl("create", "namespace", "shop")
            await kubectl("-n", "shop", "create", "deployment", "web", "--image=web:1", "--replicas=4")
            await kubectl("delete", "namespace", "shop", "--timeout=30s")
            assert not pods.cache.list("shop")

    run(work())
