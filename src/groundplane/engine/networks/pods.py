"""The pod network of this host: no bridge, one routed link per pod.

        pod's namespace                            host
      ┌─────────────────────────┐                ┌──────────────────────────────────────────────┐
      │ eth0  10.244.0.5/32     │   veth pair    │ g<instance>0af40005   (no address)           │
      │   0a:58:0a:f4:00:05     ├────────────────┤   ee:ee:ee:ee:ee:ee                          │
      │ default via 169.254.1.1 │                │ route 10.244.0.5/32 dev g… src <node address>│
      │   (on link, permanent   │                │ neighbour 10.244.0.5 permanent               │
      │   neighbour ee:ee:…)    │                │ route_localnet = 1, rp_filter = 1 (strict)   │
      └─────────────────────────┘                └──────────────────────────────────────────────┘

The gateway's address belongs to nobody: a permanent neighbour says which link-layer address answers for it, and another
one on the host answers for the pod, so there is no ARP at all and the first packet is not late. Every packet between
pods passes the host's IP layer, hence nf_tables, whatever `bridge-nf-call-iptables` says; on a bridge, two pods of one
node would bypass the Services. All host ends may have the same link-layer address: each pair is a segment of its own.

The link's name is made of the address, so what a lease speaks of can be found without any other record, and a sweep
knows a link without a lease by its name alone. Deleting the link takes the route and both neighbours with it.

Order of attach: lease, link, pod's end, host's end. A kill between two of them leaves what `sweep` removes or what a
second attach completes: every step is content with what is there.

All calls run in one worker thread of their own: the kernel serialises link changes anyway (the RTNL lock), and a
namespace that is being torn down can hold that lock for tens of milliseconds, for which the event loop must not wait.
Only deleting a link is given to other threads: it waits 35 ms for a grace period of RCU (netdev_run_todo, without the
lock), which many deletions share, and nobody who attaches should wait for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import TypeVar

from groundplane.base import files
from groundplane.base.jsonyaml import dumps, loads
from groundplane.base.log import Log
from groundplane.engine.networks import forwarding, rules
from groundplane.engine.networks.leases import Leases
from groundplane.engine.sandboxes.contract import NetworkError
from groundplane.kernel.errors import KernelError
from groundplane.kernel.netlink import addresses, links, neighbours, netns, routes
from groundplane.kernel.netlink.channel import NETFILTER, Channel, Request
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

T = TypeVar("T")
_log = Log("engine.networks")

GATEWAY = "169.254.1.1"
_HOST_MAC = links.mac("ee:ee:ee:ee:ee:ee")
_POD_LINK = "eth0"
_REAPERS = 8  # threads that delete links
_HOST_SETTINGS = {
    links.ROUTE_LOCALNET: 1,  # node ports on 127.0.0.1; guarded in `rules`
    links.RP_FILTER: 1,  # a pod sends from its own address only (RFC 3704, strict)
    links.ACCEPT_REDIRECTS: 0,  # and does not tell the host how to route
    links.SEND_REDIRECTS: 0,
}


class NotConfigured(NetworkError):
    """The node has no pod range yet."""

    retry = True


class PodNetwork:
    """Addresses and links of this host's pods. Implements `engine.sandboxes.contract.PodNetwork`.

    Made with `root` (the state root's `networks` folder) and the instance's hash. `configure` when the node's range is
    known; it is remembered, so that a restarted engine can attach before the API server answers. `sweep` once the
    engine knows its sandboxes. `close` leaves all running, `teardown` removes it.
    """

    def __init__(self, root: str, instance: str) -> None:
        self._root = root
        self._instance = instance
        self._prefix = link_prefix(instance)
        self._table = rules.table_name(instance)
        self._leases = Leases(os.path.join(root, "pods"))
        self._sysctls = forwarding.Sysctls(os.path.join(root, "sysctls.json"))
        self._saved = os.path.join(root, "range.json")
        self._range: rules.PodRange | None = None
        self._loaded = False
        self._mtu = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pod-network")
        self._reapers = ThreadPoolExecutor(_REAPERS, thread_name_prefix="pod-links")
        self._route: Channel | None = None
        self._filter: Channel | None = None

    # For the daemon

    async def sweep(self, sandboxes: Collection[str]) -> None:
        """After a start: free the leases of unknown sandboxes, and remove links that no lease speaks of."""
        await self._do(lambda: self._sweep(set(sandboxes)))

    async def configure(self, pod_cidr: str, node_ip: str, cluster_cidr: str) -> None:
        """From now on give out addresses of `pod_cidr` (this node's part of `cluster_cidr`). Idempotent."""
        pods = rules.PodRange(IPv4Network(pod_cidr), IPv4Network(cluster_cidr), node_ip, self._prefix)
        await self._do(lambda: self._configure(pods))

    async def teardown(self) -> None:
        """Remove every link, lease, rule and setting of this instance."""
        await self._do(self._teardown)

    async def close(self) -> None:
        """Release sockets and the thread; pods go on undisturbed."""
        await self._do(self._close)
        self._worker.shutdown()
        self._reapers.shutdown()

    # For sandboxes

    async def attach(self, netns: str, sandbox_id: str) -> str:
        """Give the namespace at `netns` an address and a way out; the same again for the same sandbox.

        Raises NotConfigured before the first `configure`, NoFreeAddress, NetworkError. On an error nothing is left.
        """
        try:
            return await self._do(lambda: self._attach(netns, sandbox_id))
        except (KernelError, OSError) as error:
            raise NetworkError(f"network of sandbox {sandbox_id[:12]}: {error}") from error

    async def detach(self, sandbox_id: str) -> None:
        """Take link and address back; nothing happens where there are none."""
        address = await self._do(lambda: self._unlist(sandbox_id))
        if address is not None:
            await asyncio.get_running_loop().run_in_executor(self._reapers, _delete_link, self._link(address))
            await self._do(lambda: self._leases.release(sandbox_id))

    # In the worker thread

    async def _do(self, work: Callable[[], T]) -> T:
        def prepared() -> T:
            if not self._loaded:
                self._load()
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._worker, prepared)

    def _load(self) -> None:
        """What an earlier life has left: leases, and the range it was configured for."""
        self._leases.load()
        self._loaded = True
        if os.path.exists(self._saved):
            with open(self._saved, "rb") as file:
                saved = loads(file.read())
            local, cluster = IPv4Network(saved["local"]), IPv4Network(saved["cluster"])
            self._configure(rules.PodRange(local, cluster, saved["node_ip"], self._prefix))

    def _channels(self) -> tuple[Channel, Channel]:
        if self._route is None or self._filter is None:
            self._route, self._filter = Channel(), Channel(NETFILTER)
        return self._route, self._filter

    def _close(self) -> None:
        for channel in (self._route, self._filter):
            if channel is not None:
                channel.close()
        self._route = self._filter = None

    def _sweep(self, sandboxes: set[str]) -> None:
        gone = set(self._leases.all()) - sandboxes
        for sandbox in gone:
            _log.info("freeing the address of a sandbox that is gone", sandbox=sandbox[:12])
            self._unlist(sandbox)
        leased = {self._link(address) for sandbox, address in self._leases.all().items() if sandbox not in gone}
        self._delete_links(self._our_links() - leased)
        for sandbox in gone:
            self._leases.release(sandbox)

    def _configure(self, pods: rules.PodRange) -> None:
        if pods == self._range:
            return
        route, netfilter = self._channels()
        self._sysctls.set("net.ipv4.ip_forward", "1")
        rules.install(netfilter, self._table, pods, sorted(self._leases.all().values()))
        forwarding.allow_beside_docker(netfilter, self._instance, self._prefix)
        self._leases.configure(pods.local)
        self._mtu = _mtu_of(route, pods.node_ip)
        saved = {"local": str(pods.local), "cluster": str(pods.cluster), "node_ip": pods.node_ip}
        files.replace(self._saved, dumps(saved), durable=False)
        self._range = pods

    def _attach(self, netns_path: str, sandbox_id: str) -> str:
        if self._range is None:
            raise NotConfigured("this node has no pod range yet (spec.podCIDR of its Node); the sandbox is tried again")
        address = self._leases.take(sandbox_id)
        try:
            self._plug(netns_path, address, self._range)
        except BaseException:
            self._unlist(sandbox_id)
            _delete_link(self._link(address))
            self._leases.release(sandbox_id)
            raise
        return address

    def _plug(self, netns_path: str, address: str, pods: rules.PodRange) -> None:
        route, netfilter = self._channels()
        name, pod_mac = self._link(address), _pod_mac(address)
        host = links.find(route, name)
        if host is None:
            fd = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                ends = {"address": _HOST_MAC, "peer_address": pod_mac}
                route.perform(links.veth(name, _POD_LINK, fd, mtu=self._mtu, **ends))
            finally:
                os.close(fd)
            host = links.find(route, name)
            if host is None:
                raise NetworkError(f"link {name} went away while it was set up; the namespace may have ended")
        netns.inside(netns_path, lambda: _set_up_pod(address))
        route.perform(*_host_end(host.number, name, address, pod_mac, pods.node_ip))
        Transaction(o.add_elements(rules.hairpin_set(self._table), [rules.hairpin(address)])).commit(netfilter)
        forwarding.allow_beside_docker(netfilter, self._instance, self._prefix)

    def _unlist(self, sandbox_id: str) -> str | None:
        """Take the sandbox's address out of the rules; the address, which is still leased."""
        address = self._leases.address(sandbox_id)
        if address is None:
            return None
        _, netfilter = self._channels()
        # ENOENT: an attach that did not come so far, or a table that does not exist before the first configure.
        gone = o.delete_elements(rules.hairpin_set(self._table), [rules.hairpin(address)])
        Transaction(request.unless(errno.ENOENT) for request in gone).commit(netfilter)
        return address

    def _our_links(self) -> set[str]:
        route, _ = self._channels()
        return {link.name for link in links.list_all(route) if link.name.startswith(self._prefix)}

    def _delete_links(self, names: Collection[str]) -> None:
        list(self._reapers.map(_delete_link, names))

    def _teardown(self) -> None:
        _, netfilter = self._channels()
        self._delete_links(self._our_links())
        Transaction([o.add_table(self._table), o.delete_table(self._table)]).commit(netfilter)
        forwarding.forget_docker(netfilter, self._instance)
        for sandbox in self._leases.all():
            self._leases.release(sandbox)
        if forwarding.docker_forwards(netfilter):
            self._sysctls.forget()
        else:
            self._sysctls.restore()
        if os.path.exists(self._saved):
            os.unlink(self._saved)
        self._range = None

    def _link(self, address: str) -> str:
        return self._prefix + socket.inet_aton(address).hex()


def link_prefix(instance: str) -> str:
    """How the names of an instance's pod links begin: 7 characters; 8 of the address follow, 15 are allowed."""
    return f"g{instance}"


def _delete_link(name: str) -> None:
    with Channel() as channel:
        channel.perform(links.delete(name))


def _pod_mac(address: str) -> bytes:
    return b"\x0a\x58" + socket.inet_aton(address)


def _set_up_pod(address: str) -> None:
    """Inside the pod's namespace."""
    with Channel() as channel:
        link = links.find(channel, _POD_LINK)
        if link is None:
            raise NetworkError(f"{_POD_LINK} is missing in the sandbox's network namespace")
        number = link.number
        channel.perform(
            links.up(1, "lo"),
            links.no_ipv6_address(number, _POD_LINK),
            addresses.add(number, address).unless(errno.EEXIST),  # a second attach
            links.up(number, _POD_LINK),
            neighbours.permanent(number, GATEWAY, _HOST_MAC),
            routes.to("0.0.0.0/0", number, gateway=GATEWAY, replace=True),
        )


def _host_end(number: int, name: str, address: str, pod_mac: bytes, node_ip: str) -> list[Request]:
    return [
        links.ipv4_conf(number, _HOST_SETTINGS, name),
        links.no_ipv6_address(number, name),
        links.up(number, name),
        neighbours.permanent(number, address, pod_mac),
        routes.to(f"{address}/32", number, source=node_ip, replace=True),
    ]


def _mtu_of(channel: Channel, address: str) -> int:
    """The MTU of the link that has this address: pods must not send larger packets than their node's way out takes."""
    owner = next((a.link for a in addresses.list_all(channel) if a.address == address), 0)
    mtu = next((link.mtu for link in links.list_all(channel) if link.number == owner), 0)
    return mtu if 1280 <= mtu <= 9000 else 0
