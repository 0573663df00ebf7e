"""The node agent: a worker for each pod of this node, the Node object, and what pods leave behind.

Start: register → first list of pods → a worker each → containers of pods that no longer exist are removed. From then
on informers and engine events wake workers; nothing polls but the lease and the refresh of volumes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from groundplane.base.clock import Clock
from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks, set_within
from groundplane.client import resources
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object
from groundplane.client.events import Recorder
from groundplane.client.informer import Handler, Informer, InformerFactory
from groundplane.engine.contract import Engine, EngineError, EngineEvent
from groundplane.node.context import Context
from groundplane.node.contract import Drain, Place, PodNetworkConfig
from groundplane.node.registration import STATUS_SECONDS, Registration
from groundplane.node.resources import this_host
from groundplane.node.sources import ClusterSources
from groundplane.node.views import POD_NAME, POD_NAMESPACE, POD_UID, Pod
from groundplane.node.volumes.manager import Volumes
from groundplane.node.worker import Worker

_log = Log("node")
_REFRESH_SECONDS = 20.0
_RETRY = 1.0


class Node:
    """One node's agent. `start` returns once it is registered and knows its pods; `stop` leaves them running."""

    def __init__(
        self,
        place: Place,
        client: Client,
        engine: Engine,
        network: PodNetworkConfig,
        drain: Drain,
        clock: Clock,
        version: str,
    ) -> None:
        self.place = place
        self._client = client
        self._engine = engine
        self._network = network
        self._clock = clock
        self._tasks = Tasks("node")
        self._factory = InformerFactory(client, clock)
        self._registration = Registration(client, clock, place, version)
        self._recorder = Recorder(client, clock, "kubelet", place.name)
        self._workers: dict[str, Worker] = {}
        self._pods: Informer = self._factory.informer(resources.PODS, field_selector=f"spec.nodeName={place.name}")
        self._nodes: Informer = self._factory.informer(resources.NODES, field_selector=f"metadata.name={place.name}")
        self._services: Informer = self._factory.informer(resources.SERVICES)
        sources, host = ClusterSources(client, clock), this_host()
        self.context = Context(
            place=place,
            client=client,
            engine=engine,
            clock=clock,
            recorder=self._recorder,
            sources=sources,
            volumes=Volumes(place.root, place.address, sources, sources, host.memory),
            drain=drain,
            services=lambda: iter(self._services.cache),
            host=host,
        )
        self._cidr = ""
        self._assigned = asyncio.Event()
        self._network_ready = asyncio.Event()
        self._report_now = asyncio.Event()

    async def start(self) -> None:
        node = await self._registered()
        self._nodes.add_handler(Handler(add=self._node_seen, update=lambda _, new: self._node_seen(new)))
        self._factory.start()
        self._tasks.start("lease", self._registration.keep_lease(node))
        self._tasks.start("network", self._configure_network())
        self._tasks.start("status", self._keep_status())
        self._tasks.start("events", self._pump_events(self._engine.events()))
        await self._factory.synced()
        self._tasks.start("pods", self._begin_pods())

    async def stop(self) -> None:
        """Let go of everything; containers stay."""
        await self._tasks.stop()
        await self._factory.stop()
        for worker in list(self._workers.values()):
            await worker.stop()
        self._workers.clear()
        await self._recorder.stop()

    @property
    def is_ready(self) -> bool:
        """The pod network is there, so pods can run."""
        return self._network_ready.is_set()

    @property
    def pod_count(self) -> int:
        return len(self._workers)

    @property
    def pods(self) -> list[Pod]:
        """The pods of this node as the API server has them."""
        return list(self._pods.cache)

    def worker(self, namespace: str, name: str) -> Worker | None:
        """The worker of a pod by name, for logs and exec."""
        pod = self._pods.cache.get(name, namespace)
        return self._workers.get(pod["metadata"]["uid"]) if pod is not None else None

    async def _registered(self) -> Object:
        while True:
            try:
                return await self._registration.register()
            except (ApiError, ConnectionLost) as error:
                _log.warning("node not registered", error=str(error))
                await self._clock.sleep(_RETRY)

    # the Node object

    def _node_seen(self, node: Object) -> None:
        self._cidr = (node.get("spec") or {}).get("podCIDR") or ""
        if self._cidr:
            self._assigned.set()
        ready = [c.get("status") for c in (node.get("status") or {}).get("conditions") or () if c["type"] == "Ready"]
        if ready != ["True"] and self._network_ready.is_set():
            self._report_now.set()  # given up, while this machine slept or could not be heard

    async def _configure_network(self) -> None:
        """Hand the pod range to the engine as soon as the cluster has assigned it."""
        await self._assigned.wait()
        while True:
            try:
                await self._network.configure(self._cidr)
                break
            except GroundError as error:
                _log.error("pod network not ready", cidr=self._cidr, error=str(error))
                await self._clock.sleep(_RETRY)
        _log.info("pod network ready", cidr=self._cidr)
        self._network_ready.set()
        self._report_now.set()

    async def _keep_status(self) -> None:
        await self._network_ready.wait()
        while True:
            self._report_now.clear()
            node = self._nodes.cache.get(self.place.name)
            if node is not None:
                try:
                    await self._registration.report(node, self._images(), network_ready=True)
                except (ApiError, ConnectionLost) as error:
                    _log.warning("node status not written", error=str(error))
                    await self._clock.sleep(_RETRY)
                    continue
            await set_within(self._report_now, STATUS_SECONDS, self._clock)

    def _images(self) -> list[Object]:
        """status.images: at most 50, the largest first (kubelet's nodeStatusMaxImages)."""
        images = sorted(self._engine.images.list(), key=lambda i: -i.size)[:50]
        return [{"names": list(i.names), "sizeBytes": i.size} for i in images if i.names]

    # pods

    async def _begin_pods(self) -> None:
        """Adopt the pods that are there, remove what belongs to none, then follow changes."""
        await self._network_ready.wait()
        self._pods.add_handler(
            Handler(add=self._pod_seen, update=lambda _, new: self._pod_seen(new), delete=self._pod_deleted)
        )
        await self._remove_orphans()
        while True:
            await self._clock.sleep(_REFRESH_SECONDS)
            for worker in self._workers.values():
                worker.refresh_volumes()

    def _pod_seen(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is None:
            self.context.sources.renew()  # what was read before this pod was there may be older than it
            worker = self._workers[uid] = Worker(self.context, pod)
            worker.start()
        else:
            worker.update(pod)

    def _pod_deleted(self, pod: Pod) -> None:
        """An object that is gone before its containers was deleted by force: they end at once."""
        worker = self._workers.pop(pod["metadata"]["uid"], None)
        if worker is not None:
            self._tasks.start(f"deleted {pod['metadata']['name']}", self._deleted(worker))

    async def _deleted(self, worker: Worker) -> None:
        await worker.stop()
        if not worker.finished:
            await self._clean(worker)

    async def _clean(self, worker: Worker) -> None:
        while True:
            try:
                await worker.clean()
                return
            except (GroundError, OSError) as error:
                _log.warning("pod not removed", uid=worker.uid, error=str(error))
                await self._clock.sleep(_RETRY)

    async def _remove_orphans(self) -> None:
        """Containers, sandboxes and directories of pods that were deleted while nobody looked."""
        known = {pod["metadata"]["uid"] for pod in self._pods.cache}
        left: dict[str, dict[str, str]] = {}
        for info in self._engine.containers.list(hidden=True):
            if (uid := info.spec.labels.get(POD_UID)) and uid not in known:
                left[uid] = dict(info.spec.labels)
        for sandbox in self._engine.sandboxes.list():
            if (uid := sandbox.spec.labels.get(POD_UID)) and uid not in known:
                left.setdefault(uid, dict(sandbox.spec.labels))
        for uid in self.context.volumes.known():
            if uid not in known:
                left.setdefault(uid, {})
        for uid, labels in left.items():
            meta = {"uid": uid, "name": labels.get(POD_NAME, ""), "namespace": labels.get(POD_NAMESPACE, "")}
            ghost = Worker(self.context, {"metadata": meta, "spec": {}})
            self._tasks.start(f"orphan {uid}", self._clean_orphan(ghost))

    async def _clean_orphan(self, ghost: Worker) -> None:
        """Its containers get the time that their pod asked for."""
        infos = [i for i in self._engine.containers.list(hidden=True) if i.spec.labels.get(POD_UID) == ghost.uid]
        stops = (self._engine.containers.stop(info.id) for info in infos)
        for error in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(error, EngineError):
                _log.warning("orphan not stopped", uid=ghost.uid, error=str(error))
            elif error is not None:
                raise error
        await self._clean(ghost)

    async def _pump_events(self, events: AsyncIterator[EngineEvent]) -> None:
        while True:
            try:
                async for event in events:
                    worker = self._workers.get(event.labels.get(POD_UID, ""))
                    if worker is not None:
                        worker.poke()
                return  # the engine was closed
            except EngineError as error:  # too slow for 10,000 events: listen again, and look at every pod
                _log.warning("engine events were lost", error=str(error))
                events = self._engine.events()
                for worker in list(self._workers.values()):
                    worker.poke()
