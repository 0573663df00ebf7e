"""The control plane of one process: store, API server, controllers, scheduler, and the cluster's own objects."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from groundplane.apiserver import server as apiserver
from groundplane.apiserver.server import ApiServer
from groundplane.apiserver.streams.contract import NodeDialer
from groundplane.base.clock import Clock
from groundplane.base.ids import instance_hash
from groundplane.base.log import Log
from groundplane.base.settings import Settings
from groundplane.base.tasks import Tasks
from groundplane.client import kubeconfig
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import InformerFactory
from groundplane.client.leader import Leader, LeaseWords
from groundplane.client.resources import Resource
from groundplane.controllers.registry import CONTROLLERS
from groundplane.controllers.runner import ClusterFacts, Context, Runner
from groundplane.daemon import identities
from groundplane.daemon.identities import Clients
from groundplane.daemon.storecare import own_url, refuse_unfinished
from groundplane.kinds import resources as kinds
from groundplane.scheduler.loop import Scheduler
from groundplane.store.contract import Store
from groundplane.store.registry import open_store

_log = Log("daemon.controlplane")
_MANAGER, _SCHEDULER = "kube-controller-manager", "kube-scheduler"
_FAREWELL = 3.0  # seconds for giving leases back
DNS_INDEX = 10  # the cluster DNS is the tenth address of the service range, as kubeadm's convention


class ControlPlane:
    """`start` returns once the API server answers; `stop` ends everything in reverse order."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._store: Store | None = None
        self.server: ApiServer | None = None
        self._loops: Loops | None = None
        self._tasks = Tasks("daemon.controlplane")
        self._candidates: dict[str, asyncio.Task[None]] = {}
        self._leading: set[str] = set()
        self._ending = asyncio.Event()
        self._clients: Clients | None = None

    async def start(self, dialer: NodeDialer | None = None) -> Clients:
        """Bring it up; clients of its API server. Raises GroundError, with everything taken down again."""
        directory = os.path.join(self._settings.root, "store")
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            self._store = await open_store(own_url(self._settings), clock=self._clock)
            await refuse_unfinished(self._store)
            self.server = await apiserver.start(self._settings, self._store, clock=self._clock)
            if dialer is not None:
                self.server.reach_nodes(dialer)
            clients = self._clients = identities.local(self.server)
            await ensure_dns_service(clients(identities.ADMIN, "groundd"), self._settings)
            if self._store.shared:
                self._candidates = {n: self._tasks.start(n, self._lead(n, clients)) for n in (_MANAGER, _SCHEDULER)}
            else:
                self._loops = Loops(clients, self._clock, facts(self._settings), scheduler=True, controllers=True)
                self._loops.start()
        except BaseException:
            await self.stop()
            raise
        return clients

    async def _lead(self, name: str, clients: Clients) -> None:
        """On a store that control planes of other hosts share: run the loops while this one holds their lease."""
        scheduler, cluster = name == _SCHEDULER, facts(self._settings)
        # One process owns a root, so its name is nobody else's, and after a kill it takes its own lease up again.
        identity = f"{os.uname().nodename}_{instance_hash(self._settings.root)}"

        async def lead() -> None:
            loops = Loops(clients, self._clock, cluster, scheduler=scheduler, controllers=not scheduler)
            loops.start()
            self._leading.add(name)
            try:
                await self._ending.wait()
            finally:
                self._leading.discard(name)
                await loops.stop()

        while not self._ending.is_set():
            await Leader(clients(identities.ADMIN, name), self._clock, LeaseWords(name, identity)).run(lead)

    @property
    def store(self) -> Store | None:
        """The open store of the running API server."""
        return self._store

    @property
    def clients(self) -> Clients:
        """Clients of the running API server."""
        assert self._clients is not None, "started first"
        return self._clients

    async def stop(self) -> None:
        self._ending.set()
        if leaders := [self._candidates[name] for name in self._leading]:
            await asyncio.wait(leaders, timeout=_FAREWELL)  # so that another host need not wait for the lease's end
        await self._tasks.stop()
        if self._loops is not None:
            await self._loops.stop()
        if self.server is not None:
            await self.server.stop()
        if self._store is not None:
            await self._store.close()
        self._loops = self.server = self._store = None


class Loops:
    """Controllers and scheduler over one set of clients: beside the API server, or alone in a process."""

    def __init__(
        self, clients: Clients, clock: Clock, cluster: ClusterFacts, *, scheduler: bool, controllers: bool
    ) -> None:
        self._runner: Runner | None = None
        self._scheduler: Scheduler | None = None
        self._informers: list[InformerFactory] = []
        if controllers:
            manager = clients(identities.CONTROLLER_MANAGER, "kube-controller-manager")
            context = Context(
                clients=lambda account: clients(identities.controller(account), "kube-controller-manager"),
                informers=InformerFactory(manager, clock),
                clock=clock,
                facts=cluster,
                discover=_built_in,
            )
            self._runner = Runner(context, CONTROLLERS)
        if scheduler:
            client = clients(identities.SCHEDULER, "kube-scheduler")
            informers = InformerFactory(client, clock)
            self._informers.append(informers)
            self._scheduler = Scheduler(client, informers, clock)

    def start(self) -> None:
        if self._runner is not None:
            self._runner.start()
        if self._scheduler is not None:
            self._scheduler.start()
        for informers in self._informers:
            informers.start()

    async def stop(self) -> None:
        if self._scheduler is not None:
            await self._scheduler.stop()
        if self._runner is not None:
            await self._runner.stop()
        for informers in self._informers:
            await informers.stop()


def facts(settings: Settings, config: str = "") -> ClusterFacts:
    """What controllers must know that no object says; the CA from this root, or from the kubeconfig `config`."""
    if config:
        root_ca = kubeconfig.load(config).ca.decode()
    else:
        with open(os.path.join(settings.root, "pki", "ca.crt")) as file:
            root_ca = file.read()
    start = root_ca.find("-----BEGIN")
    return ClusterFacts(pod_cidr=settings.pod_cidr, root_ca=root_ca[max(start, 0) :])


async def _built_in() -> Sequence[Resource]:
    """Every resource that can be listed, watched and deleted; CustomResourceDefinitions will add to these."""
    return [
        Resource(r.group, r.version, r.plural, r.kind, r.namespaced)
        for r in kinds.resources()
        if {"list", "watch", "delete"} <= set(r.verbs)
    ]


def dns_address(settings: Settings) -> str:
    from ipaddress import IPv4Network  # late: only who runs a cluster needs it

    return str(IPv4Network(settings.service_cidr)[DNS_INDEX])


async def ensure_dns_service(client: Client, settings: Settings) -> None:
    """The Service kube-system/kube-dns, without a selector: the data plane of each node answers at its address."""
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": dns_address(settings),
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }
    try:
        await client.services.get("kube-dns", "kube-system")
    except ApiError as error:
        if not error.is_not_found:
            raise
        await client.services.create(service, "kube-system")
