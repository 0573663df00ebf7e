"""`ground kube` against a real API server, real controllers and a scripted node: kubectl's words and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.kubeletless import Cluster, cluster

from groundplane.client.resources import SERVICE_ACCOUNTS

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        },
    },
}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"a": "b"}}


@dataclass
class Done:
    code: int
    out: str
    err: str


Kube = Callable[..., Awaitable[Done]]


def kube_of(root: Path) -> Kube:
    """Calls `ground kube …`; expects exit code `code` (None: any)."""
    env = {**os.environ, "HOME": str(root), "KUBECONFIG": str(root / "admin.kubeconfig")}

    async def call(*args: str, code: int | None = 0, stdin: str = "") -> Done:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "groundplane.cli.main", "kube", *args,
            env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 40)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        done = Done(process.returncode or 0, out.decode(), err.decode())
        assert code is None or done.code == code, f"kube {' '.join(args)}: {done}"
        return done

    return call


@asynccontextmanager
async def ready(root: Path) -> AsyncIterator[tuple[Kube, Cluster]]:
    async with cluster(root) as found:
        accounts = found.watcher.cache(SERVICE_ACCOUNTS)
        await found.watcher.until(lambda: accounts.cache.get("default", "default") is not None)
        yield kube_of(root), found


def test_apply_get_scale_set_and_delete(run, state_root: Path) -> None:
    async def work() -> None:
        async with ready(state_root) as (kube, _):
            stdin = f"{json.dumps(DEPLOYMENT)}\n---\n{json.dumps(CONFIG)}\n"
            applied = await kube("apply", "-f", "-", stdin=stdin)
            assert applied.out == "deployment.apps/web serverside-applied\nconfigmap/words serverside-applied\n"
            status = await kube("rollout", "status", "deployment/web", "--timeout=30s")
            assert status.out.splitlines()[-1] == 'deployment "web" successfully rolled out'
            table = (await kube("get", "deployments")).out.splitlines()
            assert table[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
            assert table[1].split()[:2] == ["web", "2/2"]
            assert (await kube("get", "cm", "words", "-o", "jsonpath={.data.a}")).out == "b\n"
            assert (await kube("scale", "deployment/web", "--replicas=3")).out == "deployment.apps/web scaled\n"
            done = await kube("set", "image", "deployment/web", "web=web:2")
            assert done.out == "deployment.apps/web image updated\n"
            await kube("rollout", "status", "deployment/web")
            images = await kube("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.containers[0].image}")
            assert images.out.split() == ["web:2"] * 3
            deleted = await kube("delete", "-f", "-", stdin=stdin)
            assert deleted.out == 'configmap "words" deleted\ndeployment.apps "web" deleted\n'
            missing = await kube("get", "deployment", "web", code=1)
            assert missing.err == 'Error from server (NotFound): deployments.apps "web" not found\n'

    run(work())


def test_rollouts_are_watched_listed_undone_paused_and_restarted(run, state_root: Path) -> None:
    async def work() -> None:
        async with ready(state_root) as (kube, _):
            missing = await kube("rollout", "status", "deployment/web", code=1)
            assert missing.err == 'Error from server (NotFound): deployments.apps "web" not found\n'
            await kube("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
            await kube("rollout", "status", "deployment", "web", "--timeout=30s")
            alone = await kube("rollout", "undo", "deployment/web", code=1)
            assert alone.err == 'error: no rollout history found for deployment "web"\n'
            await kube("set", "image", "deployment/web", "web=web:2")
            await kube("rollout", "status", "deployment/web", "--timeout=30s")
            history = (await kube("rollout", "history", "deployment/web")).out.splitlines()
            assert history[0] == "deployment.apps/web "
            assert [line.split() for line in history[1:4]] == [
                ["REVISION", "CHANGE-CAUSE"],
                ["1", "<none>"],
                ["2", "<none>"],
            ]
            assert (await kube("rollout", "undo", "deployment/web")).out == "deployment.apps/web rolled back\n"
            await kube("rollout", "status", "deployment/web", "--timeout=30s")
            image = await kube("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
            assert image.out == "web:1\n"
            skipped = await kube("rollout", "undo", "deployment/web", "--to-revision=3")
            assert "skipped rollback (current template already matches revision 3)" in skipped.out
            await kube("rollout", "restart", "deployment/web")
            await kube("rollout", "status", "deployment/web", "--timeout=30s")
            assert (await kube("rollout", "pause", "deployment/web")).out == "deployment.apps/web paused\n"
            refused = await kube("rollout", "restart", "deployment/web", code=1)
            assert "can't restart paused deployment" in refused.err
            await kube("set", "image", "deployment/web", "web=web:9")
            late = await kube("rollout", "status", "deployment/web", "--timeout=1s", code=1)
            assert "0 out of 2 new replicas have been updated..." in late.out
            assert late.err == "error: timed out waiting for the condition\n"
            await kube("rollout", "resume", "deployment/web")
            await kube("rollout", "status", "deployment/web", "--timeout=30s")

    run(work())
