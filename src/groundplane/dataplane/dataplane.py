"""This node's data plane as one thing to start and stop: route, Services, DNS, and the gate.

start      route to the Service range ──► table reconciled ──► DNS answers
stop       DNS and loops end; table and route stay: open and new connections go on without us
teardown   everything that this instance made is removed
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network

from groundplane.base.clock import Clock
from groundplane.base.ids import instance_hash
from groundplane.base.settings import Settings
from groundplane.base.tasks import Tasks
from groundplane.client.client import Client
from groundplane.client.contract import Object
from groundplane.client.informer import Handler, InformerFactory
from groundplane.client.resources import ENDPOINT_SLICES, SERVICES
from groundplane.dataplane import routes
from groundplane.dataplane.dns.forward import RESOLV_CONF, Forwarder
from groundplane.dataplane.dns.server import DnsServer
from groundplane.dataplane.dns.zone import Zone
from groundplane.dataplane.services import loop
from groundplane.dataplane.services.loop import ServiceLoop
from groundplane.dataplane.services.table import ServiceConfig, ServiceTable
from groundplane.engine.networks.pods import link_prefix
from groundplane.kernel.netlink.channel import Channel


@dataclass(frozen=True, slots=True)
class Config:
    """One node's part. `pod_links` is `engine.networks.pods.link_prefix(instance)`; ranges are the whole cluster's."""

    instance: str
    node_name: str
    node_ip: str
    service_cidr: str
    pod_cidr: str
    pod_links: str
    cluster_domain: str = "cluster.local"
    resolv_conf: str = RESOLV_CONF

    @classmethod
    def of(cls, settings: Settings, node_name: str = "") -> Config:
        """The node of these settings; `node_ip` must be known. The node's name is the host's unless it is given."""
        instance = instance_hash(settings.root)
        return cls(
            instance=instance,
            node_name=node_name or (settings.node_name or socket.gethostname()).strip().lower(),
            node_ip=settings.node_ip,
            service_cidr=settings.service_cidr,
            pod_cidr=settings.pod_cidr,
            pod_links=link_prefix(instance),
            cluster_domain=settings.cluster_domain,
        )

    @property
    def dns_ip(self) -> str:
        """The tenth address of the Service range, as kubeadm has it."""
        return dns_ip(self.service_cidr)

    @property
    def services(self) -> ServiceConfig:
        return ServiceConfig(
            instance=self.instance,
            node_ip=self.node_ip,
            services=IPv4Network(self.service_cidr),
            pods=IPv4Network(self.pod_cidr),
            pod_links=self.pod_links,
            dns_ip=self.dns_ip,
        )


def dns_ip(service_cidr: str) -> str:
    """Where cluster DNS is: what the Service kube-system/kube-dns and each pod's resolv.conf must name."""
    return str(IPv4Network(service_cidr)[10])


class Dataplane:
    """Made with a client (as system:kube-proxy); `start` once, then `stop`. `endpoint_gone` is for the node agent."""

    def __init__(self, client: Client, config: Config, clock: Clock) -> None:
        self._config = config
        self._informers = informers = InformerFactory(client, clock)
        self._loop = ServiceLoop(informers, config.services, config.node_name, clock)
        ranges = [config.services.services, config.services.pods]
        self._zone = Zone(config.cluster_domain, config.dns_ip, ranges)
        self._dns = DnsServer(self._zone, Forwarder(clock, [config.dns_ip], config.resolv_conf))
        self._tasks = Tasks("dataplane")
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        named, sliced = self._named, self._sliced
        self._services.add_handler(Handler(add=named, update=lambda _, new: named(new), delete=self._unnamed))
        self._slices.add_handler(Handler(add=sliced, update=lambda _, new: sliced(new), delete=sliced))

    async def start(self) -> None:
        """Route, DNS sockets, loops; `ready` waits for the cluster. Raises NotOurAddress, RangeInUse, CannotListen."""
        config = self._config.services
        with Channel() as channel:
            routes.check_address(channel, config.node_ip)
            routes.check(channel, config.services, config.pods)
            routes.add_service_route(channel, config.services, config.node_ip)
        await self._dns.start(self._config.dns_ip)
        self._informers.start()
        self._tasks.start("services", self._loop.run())
        self._tasks.start("names", self._fill())

    async def ready(self) -> None:
        """Return once the kernel shows the cluster's Services and DNS knows them."""
        await self._loop.ready()
        await self._services.synced()
        await self._slices.synced()

    async def endpoint_gone(self, address: str, timeout: float) -> bool:
        """Return once no Service sends to this pod address as a ready endpoint (True), or after `timeout` (False)."""
        return await self._loop.endpoint_gone(address, timeout)

    async def stop(self) -> None:
        """End; what is in the kernel stays and works."""
        await self._dns.stop()
        await self._tasks.stop()
        await self._informers.stop()
        await self._loop.close()

    async def teardown(self) -> None:
        """Stop, and remove everything that this instance put into the kernel."""
        await self.stop()
        await teardown(self._config)

    async def _fill(self) -> None:
        await self._services.synced()
        await self._slices.synced()
        self._dns.filled()

    def _named(self, service: Object) -> None:
        self._zone.set(service, self._slices.cache.by_index(loop.BY_SERVICE, loop.key_of(service)))

    def _unnamed(self, service: Object) -> None:
        self._zone.drop(service["metadata"].get("namespace", ""), service["metadata"]["name"])

    def _sliced(self, one: Object) -> None:
        namespace, _, name = loop.service_key_of(one).partition("/")
        # A Service with a virtual address has no records of its endpoints, and most changes are of such.
        service = self._services.cache.get(name, namespace)
        if service is not None and service["spec"].get("clusterIP") in ("None", "", None):
            self._named(service)


async def teardown(config: Config) -> None:
    """Remove table and route of an instance whose Dataplane is stopped, or was killed."""

    def remove() -> None:
        table = ServiceTable(config.services)
        try:
            table.teardown()
        finally:
            table.close()
        with Channel() as channel:
            routes.remove_service_route(channel, config.services.services)

    await asyncio.to_thread(remove)
