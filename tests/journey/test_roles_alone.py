"""`ground apiserver`, `controllers`, `scheduler` as processes: leases, take-over after kill -9, a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes.kubeletless import CLOCK, ScriptedNode, Watcher
from tests.fakes.ports import free_port

from groundplane.client import kubeconfig
from groundplane.client.client import Client
from groundplane.client.contract import Object
from groundplane.client.https import HttpsTransport
from groundplane.client.informer import InformerFactory
from groundplane.client.resources import LEASES, PODS, REPLICA_SETS, SERVICE_ACCOUNTS

GROUND = (sys.executable, "-m", "groundplane.cli.main")


class Roles:
    """The processes of one test; whatever happens, all of them end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._env = {**os.environ, "GROUND_ROOT": str(root / "state"), "GROUND_RUN": str(root / "run")}
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        with (self._root / f"{words[0]}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *GROUND, *words, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        self._running.append(process)
        return process

    async def end(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@asynccontextmanager
async def plane(root: Path) -> AsyncIterator[tuple[Roles, Client, Watcher, str]]:
    """An API server as a process, an administrator's client, and the path of the kubeconfig."""
    port = str(free_port())
    roles = Roles(root)
    api = root / "api"
    client: Client | None = None
    informers: InformerFactory | None = None
    try:
        server = await roles.start("apiserver", "--root", str(api), "--port", port, "--host", "127.0.0.1")
        assert server.stdout is not None
        said = await asyncio.wait_for(server.stdout.readline(), 120)
        assert b"ready" in said, (root / "apiserver.log").read_text()
        path = str(api / "admin.kubeconfig")
        client = Client(HttpsTransport(kubeconfig.load(path), CLOCK))
        informers = InformerFactory(client, CLOCK)
        await ScriptedNode(client, informers, "n1").join()
        informers.start()
        yield roles, client, Watcher(informers), path
    finally:
        if informers is not None:
            await informers.stop()
        if client is not None:
            await client.close()
        await roles.end()


def replica_set(name: str, replicas: int) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec}


def test_roles_work_take_over_and_end(run, state_root: Path) -> None:
    async def work() -> None:
        async with plane(state_root) as (roles, client, watcher, path):
            accounts, pods, leases = watcher.cache(SERVICE_ACCOUNTS), watcher.cache(PODS), watcher.cache(LEASES)
            sets = watcher.cache(REPLICA_SETS)
            first = await roles.start("controllers", "--kubeconfig", path)
            scheduler = await roles.start("scheduler", "--kubeconfig", path)
            await watcher.until(lambda: accounts.cache.get("default", "default") is not None)

            def holder(name: str) -> str:
                lease = leases.cache.get(name, "kube-system") or {}
                return str((lease.get("spec") or {}).get("holderIdentity") or "")

            def running(name: str) -> int:
                mine = [p for p in pods.cache.list("default") if p["metadata"]["labels"]["app"] == name]
                return sum(1 for p in mine if (p.get("status") or {}).get("phase") == "Running")

            await client.replica_sets.create(replica_set("one", 3), "default")
            await watcher.until(lambda: running("one") == 3)
            # Each kind has a watch of its own: what one shows another may show later.
            await watcher.until(lambda: bool(holder("kube-controller-manager") and holder("kube-scheduler")))
            before = holder("kube-controller-manager")

            second = await roles.start("controllers", "--kubeconfig", path)
            scheduler.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(scheduler.wait(), 60) == 0
            await watcher.until(lambda: not holder("kube-scheduler"))  # given up, so that the next need not wait
            await roles.start("scheduler", "--kubeconfig", path)

            first.kill()
            await first.wait()
            await client.replica_sets.create(replica_set("two", 2), "default")
            await watcher.until(lambda: running("two") == 2, seconds=120)
            await watcher.until(lambda: holder("kube-controller-manager") not in ("", before))
            second.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(second.wait(), 60) == 0
            await watcher.until(lambda: len(sets.cache) == 2)

    run(work())
