"""The real kubectl rolling applications out, controllers and scheduler being clients over TLS like kubectl itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.kubeletless import Watcher, cluster

from groundplane.client.informer import Informer
from groundplane.client.resources import PODS, SERVICE_ACCOUNTS

pytestmark = pytest.mark.needs("kubectl")

Kubectl = Callable[..., Awaitable[str]]


def kubectl_of(root: Path) -> Kubectl:
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "KUBECONFIG": str(root / "admin.kubeconfig")}

    async def call(*args: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl", *args, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(), 120)
        text = output.decode()
        assert process.returncode == 0, f"kubectl {' '.join(args)}: {text}"
        return text

    return call


@asynccontextmanager
async def ready(root: Path) -> AsyncIterator[tuple[Kubectl, Informer, Watcher]]:
    """kubectl, the pods as an informer shows them, and a watcher, of a cluster that takes pods."""
    async with cluster(root, over_tls=True) as found:
        watcher = found.watcher
        accounts, pods = watcher.cache(SERVICE_ACCOUNTS), watcher.cache(PODS)
        await watcher.until(lambda: accounts.cache.get("default", "default") is not None)
        yield kubectl_of(root), pods, watcher


async def rolled_out(kubectl: Kubectl, name: str = "web") -> None:
    status = await kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
    assert "successfully rolled out" in status


async def images(kubectl: Kubectl) -> list[str]:
    """Of the pods, once those that a rollout has ended are gone: it does not wait for them."""
    while (await kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.deletionTimestamp}")).strip():
        pass
    return (await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")).split()


async def revisions(kubectl: Kubectl) -> list[str]:
    history = await kubectl("rollout", "history", "deployment/web")
    return [line.split()[0] for line in history.splitlines()[2:] if line.strip()]


def test_create_update_and_undo(run, state_root: Path) -> None:
    async def work() -> None:
        async with ready(state_root) as (kubectl, _, _):
            await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
            await rolled_out(kubectl)
            await kubectl("expose", "deployment", "web", "--port=80")
            await kubectl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=90s")
            await kubectl("set", "image", "deployment/web", "web=web:2")
            await rolled_out(kubectl)
            assert await revisions(kubectl) == ["1", "2"]
            assert "web:1" in await kubectl("rollout", "history", "deployment/web", "--revision=1")
            await kubectl("rollout", "undo", "deployment/web")
            await rolled_out(kubectl)
            assert await images(kubectl) == ["web:1"] * 3
            assert await revisions(kubectl) == ["2", "3"]
            described = await kubectl("describe", "deployment", "web")
            assert "NewReplicaSet:   web-" in described
            assert "ScalingReplicaSet" in described
            ready_words = "jsonpath={.items[*].endpoints[*].conditions.ready}"
            assert (await kubectl("get", "endpointslices", "-o", ready_words)).split().count("true") >= 3
            events = await kubectl("get", "events", "--field-selector", "reason=Scheduled")
            assert "Successfully assigned default/web-" in events

    run(work())


def test_pause_scale_resume_and_restart(run, state_root: Path) -> None:
    async def work() -> None:
        async with ready(state_root) as (kubectl, _, _):
            await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
            await rolled_out(kubectl)
            await kubectl("rollout", "pause", "deployment/web")
            await kubectl("set", "image", "deployment/web", "web=web:3")
            await kubectl("scale", "deployment/web", "--replicas=5")
            await kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=90s")
            assert await images(kubectl) == ["web:1"] * 5
            await kubectl("rollout", "resume", "deployment/web")
            await rolled_out(kubectl)
            assert await images(kubectl) == ["web:3"] * 5
            await kubectl("rollout", "restart", "deployment/web")
            await rolled_out(kubectl)

    run(work())


def test_deletion_cascades_as_asked(run, state_root: Path) -> None:
    async def work() -> None:
        async with ready(state_root) as (kubectl, pods, watcher):
            await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
            await rolled_out(kubectl)
            await kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=90s")
            assert not pods.cache.list("default")
            await kubectl("create", "deployment", "left", "--image=web:1")
            await rolled_out(kubectl, "left")
            await kubectl("delete", "deployment", "left", "--cascade=orphan", "--timeout=90s")
            assert (await kubectl("get", "replicasets", "-o", "name")).startswith("replicaset.apps/left-")
            await kubectl("delete", "replicaset", "--all", "--timeout=90s")
            await watcher.until(lambda: not pods.cache.list("default"))
            await kubectl("create", "namespace", "shop")
            await kubectl("-n", "shop", "create", "deployment", "web", "--image=web:1", "--replicas=4")
            await kubectl("delete", "namespace", "shop", "--timeout=90s")
            assert not pods.cache.list("shop")

    run(work())
