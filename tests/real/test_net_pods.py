"""The routed pod network, on a host of the test's own: attach, reach, detach, recover, tear down."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.net_host import NetHost, join

from groundplane.engine.networks.leases import Leases, NoFreeAddress
from groundplane.engine.networks.pods import NotConfigured, PodNetwork
from groundplane.engine.sandboxes.contract import NetworkError
from groundplane.engine.sandboxes.contract import PodNetwork as Contract
from groundplane.kernel.netlink import links, routes
from groundplane.kernel.netlink.channel import NETFILTER, Channel
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

pytestmark = pytest.mark.needs("root", "net")
CLUSTER, RANGE, NODE = "10.244.0.0/16", "10.244.0.0/24", "10.1.0.1"


@pytest.fixture
def host() -> Iterator[NetHost]:
    with NetHost(NODE) as made:
        yield made


def live(host: NetHost, root: Path, work: Callable[[PodNetwork], Coroutine[Any, Any, None]]) -> None:
    """One life of the daemon: a PodNetwork in the host's namespace, closed (not torn down) at the end."""

    async def whole() -> None:
        network = PodNetwork(str(root), "abc123")
        try:
            await asyncio.wait_for(work(network), 120)
        finally:
            await network.close()

    host.run(lambda: asyncio.run(whole()))


async def ready(network: PodNetwork, *sandboxes: str) -> None:
    await network.configure(RANGE, NODE, CLUSTER)
    await network.sweep(sandboxes)


def test_it_is_what_sandboxes_ask_for(state_root: Path) -> None:
    network: Contract = PodNetwork(str(state_root), "abc123")
    assert network


def answer_once(where: NetHost, address: str, port: int) -> None:
    """A server inside `where` that tells one client who it seems to be."""
    server = where.run(lambda: socket.create_server((address, port)))

    def serve() -> None:
        with server:
            server.settimeout(60)
            client, peer = server.accept()
            with client:
                client.sendall(peer[0].encode())

    threading.Thread(target=serve, daemon=True).start()


def ask(where: NetHost, address: str, port: int) -> str:
    def talk() -> str:
        with socket.create_connection((address, port), timeout=60) as client:
            return client.recv(100).decode()

    return where.run(talk)


def test_pods_reach_each_other_the_host_and_outside(host: NetHost, state_root: Path) -> None:
    with NetHost() as one, NetHost() as two, NetHost() as outside:
        join(host, outside, "192.168.7.1", "192.168.7.2")

        async def work(network: PodNetwork) -> None:
            await ready(network)
            a = await network.attach(one.path, "a" * 64)
            b = await network.attach(two.path, "b" * 64)
            assert (a, b) == ("10.244.0.1", "10.244.0.2")
            assert await network.attach(one.path, "a" * 64) == a
            answer_once(two, b, 80)
            assert ask(one, b, 80) == a  # no translation between pods
            answer_once(host, NODE, 81)
            assert ask(one, NODE, 81) == a
            answer_once(one, a, 82)
            assert ask(host, a, 82) == NODE  # the route's preferred source
            answer_once(outside, "192.168.7.2", 83)
            assert ask(one, "192.168.7.2", 83) == "192.168.7.1"  # masqueraded

        live(host, state_root, work)


def test_a_pod_cannot_reach_the_hosts_loopback(host: NetHost, state_root: Path) -> None:
    with NetHost() as pod:

        async def work(network: PodNetwork) -> None:
            await ready(network)
            await network.attach(pod.path, "a" * 64)
            # As root in its namespace a pod may route 127.0.0.0/8 out, and forge what it likes.
            pod.shell("ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 table local")
            pod.shell("ip route add 127.0.0.1 via 169.254.1.1 dev eth0 onlink src 10.244.0.1")
            pod.shell("sysctl -qw net.ipv4.conf.all.route_localnet=1")
            with host.run(lambda: socket.create_server(("127.0.0.1", 84))), pytest.raises(TimeoutError):
                pod.run(lambda: socket.create_connection(("127.0.0.1", 84), timeout=0.3))
            assert "drop" in host.shell("nft list chain ip ground-abc123-pods guard")
            assert "packets 0 " not in host.shell("nft list chain ip ground-abc123-pods guard")

        live(host, state_root, work)


def test_a_pod_sends_from_its_own_address_only(host: NetHost, state_root: Path) -> None:
    with NetHost() as pod, NetHost() as victim:

        async def work(network: PodNetwork) -> None:
            await ready(network)
            await network.attach(pod.path, "a" * 64)
            b = await network.attach(victim.path, "b" * 64)
            pod.shell("ip addr add 10.244.0.77/32 dev eth0")
            received = victim.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender = pod.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with received, sender, pod.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as honest:
                received.bind((b, 99))
                received.settimeout(60)
                sender.bind(("10.244.0.77", 0))
                sender.sendto(b"forged", (b, 99))
                honest.sendto(b"own", (b, 99))
                assert received.recv(100) == b"own"

        live(host, state_root, work)


def test_detach_leaves_nothing_of_the_pod_and_its_address_comes_last(host: NetHost, state_root: Path) -> None:
    with NetHost() as pod:

        async def work(network: PodNetwork) -> None:
            await ready(network)
            assert await network.attach(pod.path, "a" * 64) == "10.244.0.1"
            await network.detach("a" * 64)
            await network.detach("a" * 64)
            assert await network.attach(pod.path, "b" * 64) == "10.244.0.2"
            await network.detach("b" * 64)
            with Channel() as channel, Channel(NETFILTER) as netfilter:
                assert [link.name for link in links.list_all(channel) if link.name.startswith("gabc123")] == []
                assert routes.list_all(channel, protocol=routes.PROTOCOL) == []
                assert listing.elements(netfilter, "ground-abc123-pods", "hairpin") == []

        live(host, state_root, work)
    assert [p.name for p in (state_root / "pods").iterdir()] == ["last"]


def test_a_namespace_that_ended_is_detached_like_any_other(host: NetHost, state_root: Path) -> None:
    async def work(network: PodNetwork) -> None:
        await ready(network)
        with NetHost() as pod:
            await network.attach(pod.path, "a" * 64)
        await network.detach("a" * 64)
        with NetHost() as pod:
            assert await network.attach(pod.path, "b" * 64) == "10.244.0.2"

    live(host, state_root, work)


def test_before_the_node_has_a_range_attach_says_so(host: NetHost, state_root: Path) -> None:
    async def work(network: PodNetwork) -> None:
        with pytest.raises(NotConfigured, match="no pod range yet"):
            await network.attach("/proc/self/ns/net", "a" * 64)
        await network.detach("a" * 64)

    live(host, state_root, work)


def test_an_attach_that_fails_leaves_nothing(host: NetHost, state_root: Path) -> None:
    async def work(network: PodNetwork) -> None:
        await ready(network)
        with pytest.raises(NetworkError, match=r"network of sandbox aaaaaaaaaaaa: .*No such file"):
            await network.attach("/proc/self/ns/none", "a" * 64)
        with pytest.raises(NetworkError, match="make veth pair"):
            await network.attach("/proc/self/ns/mnt", "b" * 64)
        with Channel() as channel:
            assert not [link for link in links.list_all(channel) if link.name.startswith("g")]
        assert [p.name for p in (state_root / "pods").iterdir()] == ["last"]

    live(host, state_root, work)


def test_a_new_life_finds_its_pods_and_sweeps_the_rest(host: NetHost, state_root: Path) -> None:
    with NetHost() as kept, NetHost() as lost:

        async def first(network: PodNetwork) -> None:
            await ready(network)
            assert await network.attach(kept.path, "a" * 64) == "10.244.0.1"
            assert await network.attach(lost.path, "b" * 64) == "10.244.0.2"

        async def second(network: PodNetwork) -> None:
            # Killed behind the veth, and behind an empty lease.
            with Channel() as channel:
                ends = {"address": b"\2\0\0\0\0\2", "peer_address": b"\2\0\0\0\0\1"}
                channel.perform(links.veth("gabc1230af40009", "x", host.fd, **ends))
                channel.perform(links.simple("gffffff0af40009", "bridge"))  # another instance's
            (state_root / "pods" / "10.244.0.77").touch()
            # The engine attaches what it knows before the node's range is heard of again.
            assert await network.attach(kept.path, "a" * 64) == "10.244.0.1"
            await ready(network, "a" * 64)
            with Channel() as channel, Channel(NETFILTER) as netfilter:
                names = {link.name for link in links.list_all(channel) if link.name.startswith("g")}
                assert names == {"gabc1230af40001", "gffffff0af40009"}
                assert len(listing.elements(netfilter, "ground-abc123-pods", "hairpin")) == 1
            answer_once(kept, "10.244.0.1", 80)
            assert ask(host, "10.244.0.1", 80) == NODE
            with NetHost() as new:
                assert await network.attach(new.path, "c" * 64) == "10.244.0.3"  # not 2, which was used just now

        live(host, state_root, first)
        live(host, state_root, second)


def test_teardown_leaves_the_host_as_it_was(host: NetHost, state_root: Path) -> None:
    before = host.shell("cat /proc/sys/net/ipv4/ip_forward")
    with NetHost() as pod:

        async def work(network: PodNetwork) -> None:
            await ready(network)
            await network.attach(pod.path, "a" * 64)
            assert host.shell("cat /proc/sys/net/ipv4/ip_forward") == "1\n"

        async def end(network: PodNetwork) -> None:
            await network.teardown()
            await network.teardown()

        live(host, state_root, work)
        live(host, state_root, end)
        with host.run(Channel) as channel, host.run(lambda: Channel(NETFILTER)) as netfilter:
            assert {link.name for link in links.list_all(channel)} == {"lo", "uplink"}
            assert listing.tables(netfilter) == {}
    assert host.shell("cat /proc/sys/net/ipv4/ip_forward") == before
    assert sorted(p.name for p in state_root.rglob("*")) == ["last", "pods"]


def test_beside_dockerd_pods_are_let_through_by_two_tagged_rules(host: NetHost, state_root: Path) -> None:
    """The table as dockerd's iptables leaves it: FORWARD has the policy drop and asks DOCKER-USER first."""

    def dockerd() -> None:
        with Channel(NETFILTER) as channel:
            Transaction(
                [
                    o.add_table("filter"),
                    o.add_base_chain("filter", "FORWARD", "filter", o.FORWARD, o.FILTER),
                    o.add_chain("filter", "DOCKER-USER"),
                    o.add_rule("filter", "FORWARD", x.jump("DOCKER-USER")),
                    o.add_rule("filter", "FORWARD", x.drop()),
                ]
            ).commit(channel)

    host.shell("sysctl -qw net.ipv4.ip_forward=0")
    with NetHost() as one, NetHost() as two:

        async def work(network: PodNetwork) -> None:
            await ready(network)
            await network.attach(one.path, "a" * 64)
            host.run(dockerd)  # started after us
            b = await network.attach(two.path, "b" * 64)
            answer_once(two, b, 80)
            assert ask(one, b, 80) == "10.244.0.1"
            with Channel(NETFILTER) as channel:
                assert len(listing.rules(channel, "filter", "DOCKER-USER")) == 2
                await network.teardown()
                assert listing.rules(channel, "filter", "DOCKER-USER") == []
            # Switched off before us, but by now dockerd forwards, too.
            assert host.shell("cat /proc/sys/net/ipv4/ip_forward") == "1\n"

        live(host, state_root, work)


def test_leases_go_round_and_end_with_a_sentence(state_root: Path) -> None:
    from ipaddress import IPv4Network

    leases = Leases(str(state_root))
    leases.load()
    leases.configure(IPv4Network("10.0.0.0/30"))
    assert [leases.take("a"), leases.take("b"), leases.take("a")] == ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    with pytest.raises(NoFreeAddress, match=r"no free pod address in 10\.0\.0\.0/30"):
        leases.take("c")
    leases.release("b")
    again = Leases(str(state_root))
    again.load()
    again.configure(IPv4Network("10.0.0.0/30"))
    assert again.all() == {"a": "10.0.0.1"}
    assert again.take("c") == "10.0.0.2"
