"""`ground kube` against a real API server, real controllers and a scripted node: kubectl's words and exit codes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.kubeletless import Cluster, cluster
from tests.fakes.node import FakeNode
from tests.foreign.api_server import running

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
            out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 120)
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
            status = await kube("rollout", "status", "deployment/web", "--timeout=90s")
            assert status.out.splitlines()[-1] == 'deployment "web" successfully rolled out'
            table = (await kube("get", "deployments")).out.splitlines()
            assert table[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
            assert table[1].split()[:2] == ["web", "2/2"]
            assert (await kube("get", "cm", "words", "-o", "jsonpath={.data.a}")).out == "b\n"
            assert (await kube("scale", "deployment/web", "--replicas=3")).out == "deployment.apps/web scaled\n"
            done = await kube("set", "image", "deployment/web", "web=web:2")
            assert done.out == "deployment.apps/web image updated\n"
            await kube("rollout", "status", "deployment/web")
            while (await kube("get", "pods", "-o", "jsonpath={.items[*].metadata.deletionTimestamp}")).out.strip():
                pass  # a rollout does not wait for the pods that it has ended
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
            await kube("rollout", "status", "deployment", "web", "--timeout=90s")
            alone = await kube("rollout", "undo", "deployment/web", code=1)
            assert alone.err == 'error: no rollout history found for deployment "web"\n'
            await kube("set", "image", "deployment/web", "web=web:2")
            await kube("rollout", "status", "deployment/web", "--timeout=90s")
            history = (await kube("rollout", "history", "deployment/web")).out.splitlines()
            assert history[0] == "deployment.apps/web "
            assert [line.split() for line in history[1:4]] == [
                ["REVISION", "CHANGE-CAUSE"],
                ["1", "<none>"],
                ["2", "<none>"],
            ]
            assert (await kube("rollout", "undo", "deployment/web")).out == "deployment.apps/web rolled back\n"
            await kube("rollout", "status", "deployment/web", "--timeout=90s")
            image = await kube("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
            assert image.out == "web:1\n"
            skipped = await kube("rollout", "undo", "deployment/web", "--to-revision=3")
            assert "skipped rollback (current template already matches revision 3)" in skipped.out
            await kube("rollout", "restart", "deployment/web")
            await kube("rollout", "status", "deployment/web", "--timeout=90s")
            assert (await kube("rollout", "pause", "deployment/web")).out == "deployment.apps/web paused\n"
            refused = await kube("rollout", "restart", "deployment/web", code=1)
            assert "can't restart paused deployment" in refused.err
            await kube("set", "image", "deployment/web", "web=web:9")
            seen = ""
            while "0 out of 2 new replicas have been updated..." not in seen:  # a second may be too short to be told
                late = await kube("rollout", "status", "deployment/web", "--timeout=1s", code=1)
                assert late.err == "error: timed out waiting for the condition\n"
                seen = late.out
            await kube("rollout", "resume", "deployment/web")
            await kube("rollout", "status", "deployment/web", "--timeout=90s")

    run(work())


def test_waiting(run, state_root: Path) -> None:
    async def work() -> None:
        async with ready(state_root) as (kube, _):
            missing = await kube("wait", "deployment/web", "--for=condition=Available", code=1)
            assert missing.err == 'Error from server (NotFound): deployments.apps "web" not found\n'
            created = asyncio.create_task(kube("wait", "deployment/web", "--for=create", "--timeout=90s"))
            await kube("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
            assert (await created).out == "deployment.apps/web condition met\n"
            done = await kube("wait", "deployment/web", "--for=condition=available", "--timeout=90s")
            assert done.out == "deployment.apps/web condition met\n"
            pods = await kube("wait", "pod", "-l", "app=web", "--for=condition=Ready=True", "--timeout=90s")
            assert len(pods.out.splitlines()) == 2
            await kube("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=90s")
            late = await kube("wait", "deployment/web", "--for=jsonpath={.status.nothing}", "--timeout=1s", code=1)
            assert late.err == "error: timed out waiting for the condition on deployments/web\n"
            gone = asyncio.create_task(kube("wait", "deployment/web", "--for=delete", "--timeout=90s"))
            await kube("delete", "deployment", "web")
            assert (await gone).out in ("deployment.apps/web condition met\n", "")
            wrong = await kube("wait", "pods", "--all", "--for=luck", code=None)
            assert (wrong.code, wrong.err) == (1, 'error: unrecognized condition: "luck"\n')
            none = await kube("wait", "pods", "--all", "--for=condition=Ready", code=1)
            assert none.err == "error: no matching resources found\n"

    run(work())


POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app": "web"}},
    "spec": {
        "nodeName": "n1",
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "image": "x"}],
    },
}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


def test_logs_and_exec(run, state_root: Path) -> None:
    node = FakeNode([b"one\n", b"two\n"])

    async def work() -> None:
        kube = kube_of(state_root)
        for each in (NODE, ACCOUNT, POD, DEPLOYMENT):
            await kube("apply", "-f", "-", stdin=json.dumps(each))
        logs = await kube("logs", "p", "-f", "--tail=5", "--timestamps")
        assert logs.out == "one\ntwo\n"
        assert node.queries[0] == {"follow": "true", "tailLines": "5", "timestamps": "true"}
        assert (await kube("logs", "deployment/web")).out == "one\ntwo\n"
        refused = await kube("logs", "p", "-c", "nope", code=1)
        assert refused.err == "Error from server (BadRequest): container nope is not valid for pod p\n"
        both = await kube("exec", "p", "--", "both", "out", "err")
        assert (both.out, both.err) == ("out", "err")
        assert (await kube("exec", "-i", "deployment/web", "--", "cat", stdin="x" * 300_000)).out == "x" * 300_000
        failed = await kube("exec", "p", "--", "exit", "3", code=3)
        assert failed.err == "command terminated with exit code 3\n"
        wrong = await kube("exec", "p", "-c", "nope", "--", "cat", code=1)
        assert wrong.err == "Error from server (BadRequest): container nope is not valid for pod p\n"
        assert all(process.closed.wait(60) for process in node.started)

    with running(state_root, node):
        run(work())


def test_exec_with_a_terminal_has_its_size(state_root: Path) -> None:
    with running(state_root, FakeNode()) as server:
        for each in (NODE, ACCOUNT, POD):
            server.run(sys.executable, "-m", "groundplane.cli.main", "kube", "apply", "-f", "-", stdin=json.dumps(each))
        main, terminal = os.openpty()
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 77, 0, 0))
            done = subprocess.run(
                [sys.executable, "-m", "groundplane.cli.main", "kube", "exec", "-it", "p", "--", "size"],
                env={**os.environ, "HOME": str(state_root), "KUBECONFIG": server.kubeconfig},
                stdin=terminal, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            os.close(main)
            os.close(terminal)
        assert (done.returncode, done.stdout, done.stderr) == (0, "31x77", "")
