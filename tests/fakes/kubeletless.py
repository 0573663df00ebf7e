"""A cluster without a kubelet: the real API server (memory store), controllers and scheduler, and a scripted node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.ports import free_port

from groundplane.apiserver import server as apiserver
from groundplane.base.clock import SystemClock, rfc3339
from groundplane.base.settings import Settings
from groundplane.client import kubeconfig
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, Object
from groundplane.client.https import HttpsTransport
from groundplane.client.informer import Handler, Informer, InformerFactory
from groundplane.client.objects import is_deleting, name_of, namespace_of
from groundplane.client.resources import PODS
from groundplane.daemon import identities
from groundplane.daemon.controlplane import Loops, facts
from groundplane.store.registry import open_store

CLOCK = SystemClock()


class ScriptedNode:
    """Runs nothing: a bound pod gets an address and is ready; a pod being deleted is gone at once."""

    def __init__(self, client: Client, informers: InformerFactory, name: str) -> None:
        self._client = client
        self._name = name
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        informers.informer(PODS).add_handler(Handler(add=self._see, update=lambda _, new: self._see(new)))

    async def join(self) -> None:
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": rfc3339(time.time()), "reason": "KubeletReady"}
        room = {"cpu": "64", "memory": "64Gi", "pods": "500"}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._name}}
        made = await self._client.nodes.create(body)
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        await self._client.nodes.update_status({**made, "status": status})

    def _see(self, pod: Object) -> None:
        if (pod.get("spec") or {}).get("nodeName") == self._name:
            task = asyncio.get_running_loop().create_task(self._act(pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _act(self, pod: Object) -> None:
        try:
            if is_deleting(pod):
                await self._client.pods.delete(name_of(pod), namespace_of(pod), grace_period=0)
            elif (pod.get("status") or {}).get("phase") != "Running":
                self._number += 1
                ip = f"10.244.0.{self._number % 250 + 1}"
                now = rfc3339(time.time())
                conditions = [
                    {"type": type, "status": "True", "lastTransitionTime": now}
                    for type in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
                ]
                status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
                await self._client.pods.update_status({**pod, "status": {**pod.get("status", {}), **status}})
        except ApiError as error:
            if error.code not in (404, 409):
                raise


class Watcher:
    """Waits for states of the cluster as a user's client sees them, by events."""

    def __init__(self, informers: InformerFactory) -> None:
        self._informers = informers
        self._changed = asyncio.Event()

    def cache(self, resource: Any) -> Informer:
        informer = self._informers.informer(resource)
        informer.add_handler(Handler(add=self._ring, update=lambda _, new: self._ring(new), delete=self._ring))
        return informer

    def _ring(self, _: Object) -> None:
        self._changed.set()

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


class Cluster:
    """A running one. `user` is an administrator's client, `watcher` waits for states, `restart` replaces the loops."""

    def __init__(
        self, clients: identities.Clients, settings: Settings, user: Client, informers: InformerFactory
    ) -> None:
        self.user = user
        self.watcher = Watcher(informers)
        self._clients = clients
        self._settings = settings
        self._loops = self._start()

    def _start(self) -> Loops:
        loops = Loops(self._clients, CLOCK, facts(self._settings), scheduler=True, controllers=True)
        loops.start()
        return loops

    async def restart(self) -> None:
        """Controllers and scheduler end and begin anew, as after a crash of their process."""
        await self._loops.stop()
        self._loops = self._start()

    async def stop(self) -> None:
        await self._loops.stop()


@asynccontextmanager
async def cluster(root: Path, *, over_tls: bool = False) -> AsyncIterator[Cluster]:
    """A cluster with one node; its loops in the API server's process, or over TLS as roles alone are."""
    settings = Settings(root=str(root), run=str(root / "run"), api_port=free_port(), node_ip="127.0.0.1")
    store = await open_store("memory:")
    server = await apiserver.start(settings, store, host="127.0.0.1")
    clients = identities.local(server)
    remote = Client(HttpsTransport(kubeconfig.load(server.kubeconfig), CLOCK))
    user = clients(identities.ADMIN, "test")
    informers = InformerFactory(user, CLOCK)
    found = Cluster((lambda user, agent: remote) if over_tls else clients, settings, user, informers)
    await ScriptedNode(user, informers, "n1").join()
    informers.start()
    try:
        yield found
    finally:
        await informers.stop()
        await found.stop()
        await remote.close()
        await server.stop()
        await store.close()
