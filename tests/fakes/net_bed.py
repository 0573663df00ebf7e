"""A node for data plane tests: a host of its own with pods, a services table, and servers that say who they are.

bed = Bed(root); a = bed.pod(); bed.show(service(…), slice_of(…)); bed.ask(a, "10.96.0.20", 80)
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

from tests.fakes.net_host import NetHost

from groundplane.dataplane import routes
from groundplane.dataplane.services.plan import ServicePlan, plan_service
from groundplane.dataplane.services.table import ServiceConfig, ServiceTable
from groundplane.engine.networks.pods import PodNetwork, link_prefix
from groundplane.kernel.netlink.channel import Channel

NODE_IP = "10.1.0.1"
INSTANCE = "abc123"
CLUSTER, RANGE, SERVICES = "10.244.0.0/16", "10.244.0.0/24", IPv4Network("10.96.0.0/16")
CONFIG = ServiceConfig(INSTANCE, NODE_IP, SERVICES, IPv4Network(CLUSTER), link_prefix(INSTANCE), dns_ip="10.96.0.10")


class Pod(NamedTuple):
    host: NetHost
    address: str


class Bed:
    """Use as a context manager; everything ends with it."""

    def __init__(self, root: Path) -> None:
        self.host = NetHost(NODE_IP)
        self.pods: list[Pod] = []
        self._servers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._network = PodNetwork(str(root), INSTANCE)
        self._wait(self._network.configure(RANGE, NODE_IP, CLUSTER))
        self.host.run(self._route)
        self.table = self.host.run(lambda: ServiceTable(CONFIG))
        self.table.reconcile({})

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.host.run(lambda: asyncio.run(work))

    def _route(self) -> None:
        with Channel() as channel:
            routes.add_service_route(channel, SERVICES, NODE_IP)

    def restart(self) -> None:
        """A new life of the data plane: nothing in memory."""
        self.table.close()
        self.table = self.host.run(lambda: ServiceTable(CONFIG))

    def pod(self, *ports: int, udp: int = 0) -> Pod:
        """A pod that serves TCP on 8080 (or on `ports`), and UDP on `udp`."""
        host = NetHost()
        address = self._wait(self._network.attach(host.path, f"{len(self.pods):064x}"))
        pod = Pod(host, address)
        self.pods.append(pod)
        for port in ports or (8080,):
            self.serve(host, address, port)
        if udp:
            self.serve_udp(host, address, udp)
        return pod

    def serve(self, where: NetHost, address: str, port: int) -> None:
        """Answer each TCP connection with `<address> <who the client seems to be>`."""
        server = where.run(lambda: socket.create_server((address, port), backlog=200))
        self._servers.append(server)

        def loop() -> None:
            while True:
                try:
                    client, peer = server.accept()
                except OSError:
                    return
                with client:
                    client.sendall(f"{address} {peer[0]}".encode())

        self._begin(loop)

    def serve_udp(self, where: NetHost, address: str, port: int) -> None:
        server = where.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind((address, port))
        self._servers.append(server)

        def loop() -> None:
            while True:
                try:
                    _, peer = server.recvfrom(100)
                    if peer is None:  # shut down
                        return
                    server.sendto(f"{address} {peer[0]}".encode(), peer)
                except OSError:
                    return

        self._begin(loop)

    def _begin(self, loop: Callable[[], None]) -> None:
        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        self._threads.append(thread)

    def show(self, service: dict[str, Any], *slices: dict[str, Any]) -> None:
        """Program one Service as the loop would."""
        key = f"default/{service['metadata']['name']}"
        before = self.table.plans.get(key, ServicePlan()).backends
        self.table.apply({key: plan_service(service, slices, "n1", before)})

    def hide(self, name: str) -> None:
        self.table.apply({f"default/{name}": ServicePlan()})

    def ask(self, where: NetHost | Pod, address: str, port: int, timeout: float = 30) -> tuple[str, str]:
        """(which endpoint answered, who it saw) of one TCP connection; raises OSError."""
        host = where.host if isinstance(where, Pod) else where

        def talk() -> tuple[str, str]:
            with socket.create_connection((address, port), timeout=timeout) as client:
                endpoint, _, seen = client.recv(100).decode().partition(" ")
                return endpoint, seen

        return host.run(talk)

    def close(self) -> None:
        for server in self._servers:
            with suppress(OSError):  # ENOTCONN for a datagram socket, whose reader is woken all the same
                server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for server in self._servers:
            server.close()
        self.table.close()
        self._wait(self._network.close())
        for pod in self.pods:
            pod.host.close()
        self.host.close()

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
