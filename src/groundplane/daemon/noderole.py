"""The node of one process: agent and data plane over the engine, wired to an API server here or elsewhere."""

from __future__ import annotations

import os
import ssl
from typing import Any

from groundplane import __version__
from groundplane.base.clock import Clock
from groundplane.base.settings import Settings
from groundplane.client.contract import Object
from groundplane.daemon import identities
from groundplane.daemon.controlplane import dns_address
from groundplane.daemon.identities import Clients
from groundplane.dataplane.dataplane import Config, Dataplane
from groundplane.engine.contract import Engine
from groundplane.engine.networks.pods import PodNetwork
from groundplane.node.access import Access
from groundplane.node.agent import Node
from groundplane.node.api import NodeApi
from groundplane.node.contract import Place
from groundplane.node.server import KubeletServer
from groundplane.serve import tls
from groundplane.serve.listeners import ListenError
from groundplane.serve.pki import Pki


class NodeRole:
    """`start` returns once the node is registered; `stop` leaves pods and their network as they are."""

    def __init__(self, settings: Settings, name: str, engine: Engine, network: PodNetwork, clock: Clock) -> None:
        self._settings = settings
        self._name = name
        self._engine = engine
        self._network = network
        self._clock = clock
        self.node: Node | None = None
        self.dataplane: Dataplane | None = None
        self._kubelet: KubeletServer | None = None

    @property
    def place(self) -> Place:
        settings = self._settings
        return Place(
            name=self._name,
            address=settings.node_ip,
            root=os.path.join(settings.root, "node"),
            logs=os.path.join(settings.root, "node", "logs"),
            dns_address=dns_address(settings),
            domain=settings.cluster_domain,
            kubelet_port=settings.kubelet_port,
        )

    async def start(self, clients: Clients, context: ssl.SSLContext) -> None:
        """`context` is the kubelet's server's (see `kubelet_context`). Raises GroundError, with nothing left running.

        The port is taken first, because it is what another program may have.
        """
        try:
            await self._start(clients, context)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, clients: Clients, context: ssl.SSLContext) -> None:
        settings = self._settings
        os.makedirs(self.place.logs, mode=0o755, exist_ok=True)
        config = Config.of(settings, self._name)
        self.dataplane = Dataplane(clients(identities.PROXY, "kube-proxy"), config, self._clock)
        client = clients(identities.node(self._name), "kubelet")
        self.node = Node(
            self.place,
            client,
            self._engine,
            _Network(self._network, settings),
            self.dataplane,
            self._clock,
            __version__,
        )
        self._kubelet = KubeletServer(self.node, Access(client, self._name, self._clock))
        try:
            await self._kubelet.start(settings.kubelet_port, context)
        except ListenError as error:
            raise ListenError(f"kubelet: {error} (GROUND_KUBELET_PORT)") from error
        await self.dataplane.start()
        await self.node.start()

    async def stop(self) -> None:
        if self._kubelet is not None:
            await self._kubelet.stop()
        if self.node is not None:
            await self.node.stop()
        if self.dataplane is not None:
            await self.dataplane.stop()

    async def teardown(self) -> None:
        """Remove every Service rule, route and DNS socket of this instance."""
        if self._kubelet is not None:
            await self._kubelet.stop()
        if self.node is not None:
            await self.node.stop()
        if self.dataplane is not None:
            await self.dataplane.teardown()
        self.node = self.dataplane = None


class _Network:
    """The engine's pod network, told the node's range once it is known."""

    def __init__(self, network: PodNetwork, settings: Settings) -> None:
        self._network = network
        self._settings = settings

    async def configure(self, pod_cidr: str) -> None:
        await self._network.configure(pod_cidr, self._settings.node_ip, self._settings.pod_cidr)


def kubelet_context(pki: Pki, name: str, address: str) -> ssl.SSLContext:
    """TLS of a node's server: its certificate from the cluster's own authority, by all names it is reached at."""
    pair = pki.server(f"kubelet-server-{name}", f"system:node:{name}", [name, address, "127.0.0.1"], ["system:nodes"])
    return tls.server_context(pair, pki.ca.certificate)


class LocalDialer:
    """The API server's way to the node of its own process; others are reached over TLS."""

    def __init__(self, role: NodeRole, name: str, elsewhere: Any = None) -> None:
        self._role = role
        self._name = name
        self._elsewhere = elsewhere

    def dial(self, node: Object) -> NodeApi:
        from groundplane.node.api import failure  # late: the message is rarely needed

        if node["metadata"]["name"] == self._name and self._role.node is not None:
            return NodeApi(self._role.node)
        if self._elsewhere is not None:
            found: NodeApi = self._elsewhere.dial(node)
            return found
        raise failure(
            503, "ServiceUnavailable", f"node {node['metadata']['name']} cannot be reached from this API server"
        )
