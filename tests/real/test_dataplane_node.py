"""The whole data plane of a node: informers of a fake cluster, the real kernel, DNS asked from a pod."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster
from tests.fakes.net_bed import CLUSTER, INSTANCE, NODE_IP, Bed, Pod
from tests.fakes.net_services import endpoint, port, service, slice_of

from groundplane.base.clock import Clock, SystemClock
from groundplane.client.client import Client
from groundplane.client.objects import replace_in
from groundplane.client.resources import ENDPOINT_SLICES, SERVICES
from groundplane.dataplane.dataplane import Config, Dataplane, teardown
from groundplane.dataplane.probe import kernel_problem, range_problem
from groundplane.dataplane.routes import NotOurAddress, RangeInUse
from groundplane.dataplane.services.plan import ServicePlan
from groundplane.dataplane.services.table import ServiceTable
from groundplane.kernel.netlink import addresses, links, routes
from groundplane.kernel.netlink.channel import NETFILTER, Channel, NetlinkError
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction
from groundplane.wire import dns

pytestmark = pytest.mark.needs("root", "net")
CONFIG = Config(INSTANCE, "n1", NODE_IP, "10.96.0.0/16", CLUSTER, f"g{INSTANCE}")
WEB = "10.96.0.20"


@pytest.fixture
def bed(state_root: Path) -> Iterator[Bed]:
    with Bed(state_root) as made:
        yield replace_config(made)


def replace_config(bed: Bed) -> Bed:
    """The bed's own table is in the way: the Dataplane under test makes it."""
    bed.table.teardown()
    return bed


class Impatient(SystemClock):
    """Nothing waits for longer than a moment."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.05))


@asynccontextmanager
async def dataplane(
    cluster: FakeCluster, config: Config = CONFIG, clock: Clock | None = None
) -> AsyncIterator[tuple[Dataplane, Client]]:
    client = Client(cluster)
    plane = Dataplane(client, config, clock or SystemClock())
    try:
        await plane.start()
        await plane.ready()
        yield plane, client
    finally:
        await plane.stop()


def inside(bed: Bed, work: Callable[[FakeCluster], Awaitable[None]], cluster: FakeCluster | None = None) -> FakeCluster:
    cluster = cluster or FakeCluster(SystemClock())

    async def bounded() -> None:
        await asyncio.wait_for(work(cluster), 120)

    bed.host.run(lambda: asyncio.run(bounded()))
    return cluster


async def ask(bed: Bed, where: Pod, address: str, number: int = 80) -> str:
    return (await asyncio.to_thread(bed.ask, where, address, number))[0]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.005)


async def answers(bed: Bed, where: Pod, address: str = WEB) -> bool:
    try:
        await ask(bed, where, address)
    except ConnectionRefusedError:
        return False
    return True


def lookup(where: Pod, name: str, kind: int = dns.A, *, tcp: bool = False) -> dns.Message:
    data = dns.encode(dns.Message(7, (dns.Question(dns.name(name), kind),), recursion_desired=True))

    def talk() -> bytes:
        if tcp:
            with socket.create_connection(("10.96.0.10", 53), timeout=30) as stream:
                stream.sendall(struct.pack(">H", len(data)) + data)
                answer = b""
                while len(answer) < 2 or len(answer) < 2 + struct.unpack(">H", answer[:2])[0]:
                    answer += stream.recv(5000)
                return answer[2:]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(1)
            datagrams.connect(("10.96.0.10", 53))
            for _ in range(30):  # as resolvers do: under load one of some thousand datagrams was seen to be lost
                datagrams.send(data)
                with suppress(TimeoutError):
                    return datagrams.recv(5000)
            raise TimeoutError("30 questions without an answer")

    return dns.decode(where.host.run(talk))


def test_a_service_comes_changes_and_goes(bed: Bed) -> None:
    client_pod, one, two = bed.pod(), bed.pod(), bed.pod()

    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (plane, client):
            slices = client.of(ENDPOINT_SLICES)
            await client.of(SERVICES).create(service(), "default")
            made = await slices.create(slice_of("web", endpoint(one.address), endpoint(two.address)), "default")
            await until(lambda: answers(bed, client_pod))
            assert await plane.endpoint_gone("10.244.0.99", 0)
            assert not await plane.endpoint_gone(one.address, 0.01)
            leaving = endpoint(one.address, ready=False, serving=True, terminating=True)
            await slices.update(replace_in(made, ("endpoints",), [leaving, endpoint(two.address)]))
            assert await plane.endpoint_gone(one.address, 60)
            assert {await ask(bed, client_pod, WEB) for _ in range(10)} == {two.address}
            # The last one leaves, too: it serves on, and nobody waits for it.
            await slices.update(
                replace_in(
                    made,
                    ("endpoints",),
                    [endpoint(two.address, ready=False, serving=True, terminating=True)],
                )
                | {"metadata": {k: v for k, v in made["metadata"].items() if k != "resourceVersion"}}
            )
            assert await plane.endpoint_gone(two.address, 5)
            assert await ask(bed, client_pod, WEB) == two.address
            await client.of(SERVICES).delete("web", "default")
            await until(lambda: _refused(bed, client_pod))

    inside(bed, work)


async def _refused(bed: Bed, where: Pod) -> bool:
    return not await answers(bed, where)


def test_names_from_a_pod_over_udp_and_tcp(bed: Bed) -> None:
    pod = bed.pod()

    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (_, client):
            await client.of(SERVICES).create(service(), "default")
            await client.of(SERVICES).create(service("db", "None", port(5432, "sql")), "default")
            named = endpoint(pod.address) | {"hostname": "db-0"}
            await client.of(ENDPOINT_SLICES).create(slice_of("db", named, to=5432, port_name="sql"), "default")

            async def known() -> bool:
                found = await asyncio.to_thread(lookup, pod, "db.default.svc.cluster.local")
                return found.code == dns.NO_ERROR

            await until(known)
            for tcp in (False, True):
                found = await asyncio.to_thread(lookup, pod, "web.default.svc.cluster.local", tcp=tcp)
                assert [r.data for r in found.answers] == [socket.inet_aton(WEB)]
            found = await asyncio.to_thread(lookup, pod, "db-0.db.default.svc.cluster.local")
            assert [r.data for r in found.answers] == [socket.inet_aton(pod.address)]
            found = await asyncio.to_thread(lookup, pod, "nothing.default.svc.cluster.local")
            assert found.code == dns.NAME_ERROR

            async def known_too() -> bool:
                return (await asyncio.to_thread(lookup, pod, "kube-dns.x.svc.cluster.local")).code == dns.NO_ERROR

            # Whoever makes the Service kube-dns (it has no endpoints): its address is still answered by this node.
            dns_service = service("kube-dns", "10.96.0.10", port(53, "dns", "UDP"), port(53, "dns-tcp"))
            await client.of(SERVICES).create(dns_service | {"metadata": {"name": "kube-dns", "namespace": "x"}}, "x")
            await until(known_too)
            for tcp in (False, True):
                found = await asyncio.to_thread(lookup, pod, "kube-dns.x.svc.cluster.local", tcp=tcp)
                assert [r.data for r in found.answers] == [socket.inet_aton("10.96.0.10")]

    inside(bed, work)


def test_a_flushed_ruleset_is_made_again_by_the_next_change(bed: Bed) -> None:
    pod = bed.pod()

    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (_, client):
            await client.of(SERVICES).create(service(), "default")
            await client.of(ENDPOINT_SLICES).create(slice_of("web", endpoint(pod.address)), "default")
            await until(lambda: answers(bed, pod))
            flush()
            await client.of(SERVICES).create(service("other", "10.96.0.21"), "default")
            await until(lambda: answers(bed, pod))

    inside(bed, work)


def flush() -> None:
    with Channel(NETFILTER) as channel:
        Transaction([o.delete_table(CONFIG.services.table)]).commit(channel)


def test_a_flushed_ruleset_is_noticed_without_a_change(bed: Bed) -> None:
    pod = bed.pod()

    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster, clock=Impatient()) as (_, client):
            await client.of(SERVICES).create(service(), "default")
            await client.of(ENDPOINT_SLICES).create(slice_of("web", endpoint(pod.address)), "default")
            await until(lambda: answers(bed, pod))
            flush()
            await until(lambda: answers(bed, pod))

    inside(bed, work)


def test_a_flushed_ruleset_comes_back_where_the_kernel_refuses_at_first(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = bed.pod()
    real, refusals = ServiceTable.reconcile, 0

    def once(table: ServiceTable, plans: Mapping[str, ServicePlan]) -> None:
        nonlocal refusals
        refusals += 1
        if refusals == 1:
            raise NetlinkError("nf_tables batch", errno.ENOMEM, "of 1 messages")
        real(table, plans)

    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (plane, client):
            await client.of(SERVICES).create(service(), "default")
            await client.of(ENDPOINT_SLICES).create(slice_of("web", endpoint(pod.address)), "default")
            await until(lambda: answers(bed, pod))
            monkeypatch.setattr(ServiceTable, "reconcile", once)
            flush()
            await client.of(SERVICES).create(service("other", "10.96.0.21"), "default")
            await until(lambda: answers(bed, pod))
            await client.of(ENDPOINT_SLICES).delete("web-x-tcp", "default")
            assert await plane.endpoint_gone(pod.address, 30)  # the gate knows of it what the kernel does

    inside(bed, work)


def test_traffic_goes_on_while_the_data_plane_is_away_and_a_new_one_takes_over(bed: Bed) -> None:
    pod, other = bed.pod(), bed.pod()

    async def first(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (_, client):
            await client.of(SERVICES).create(service(), "default")
            await client.of(ENDPOINT_SLICES).create(slice_of("web", endpoint(pod.address)), "default")
            await until(lambda: answers(bed, other))

    cluster = inside(bed, first)
    assert bed.ask(other, WEB, 80)[0] == pod.address
    before = bed.host.shell(f"nft -a list table ip {CONFIG.services.table}")

    async def second(cluster: FakeCluster) -> None:
        async with dataplane(cluster):
            assert await ask(bed, other, WEB) == pod.address

    # The second life has a watchless copy of the same objects.
    inside(bed, second, cluster)
    assert bed.host.shell(f"nft -a list table ip {CONFIG.services.table}") == before


def test_teardown_removes_table_and_route(bed: Bed) -> None:
    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (plane, _):
            await plane.teardown()
        await teardown(CONFIG)
        with Channel() as channel, Channel(NETFILTER) as netfilter:
            assert routes.list_all(channel, table=routes.TABLE_LOCAL, protocol=routes.PROTOCOL) == []
            assert CONFIG.services.table not in listing.tables(netfilter)

    inside(bed, work)


def test_a_range_that_the_host_uses_already_is_refused_with_a_sentence(bed: Bed) -> None:
    async def work(cluster: FakeCluster) -> None:
        with Channel() as channel:
            channel.perform(addresses.add(1, "10.96.7.1", 24))
        with pytest.raises(RangeInUse, match=r"Service range 10\.96\.0\.0/16 overlaps with .* choose another with"):
            async with dataplane(cluster):
                pass

    inside(bed, work)


def test_an_address_that_the_host_does_not_have_is_refused_with_a_sentence(bed: Bed) -> None:
    async def work(cluster: FakeCluster) -> None:
        with pytest.raises(NotOurAddress, match=r"10\.7\.7\.7 is not an address of this host; it has 10\.1\.0\.1,"):
            async with dataplane(cluster, replace(CONFIG, node_ip="10.7.7.7")):
                pass

    inside(bed, work)


def test_a_storm_of_changes_ends_in_the_right_state(bed: Bed) -> None:
    pods = [bed.pod() for _ in range(3)]

    async def work(cluster: FakeCluster) -> None:
        async with dataplane(cluster) as (plane, client):
            services, slices = client.of(SERVICES), client.of(ENDPOINT_SLICES)

            async def one(i: int) -> None:
                name = f"s{i}"
                await services.create(service(name, f"10.96.3.{i}"), "default")
                made: dict[str, Any] = await slices.create(slice_of(name, endpoint(pods[0].address)), "default")
                for pod in pods[1:]:
                    made = await slices.update(replace_in(made, ("endpoints",), [endpoint(pod.address)]))

            await asyncio.gather(*(one(i) for i in range(1, 100)))
            assert await plane.endpoint_gone(pods[0].address, 5)
            assert await plane.endpoint_gone(pods[1].address, 5)
            for i in (1, 50, 99):
                assert await ask(bed, pods[0], f"10.96.3.{i}") == pods[2].address

    inside(bed, work)


def test_the_probe_finds_nothing_wrong_here_and_leaves_nothing() -> None:
    before = {(link.name, link.number) for link in _host_links()}
    assert kernel_problem() == ""
    assert {(link.name, link.number) for link in _host_links()} == before


def _host_links() -> list[links.Link]:
    with Channel() as channel:
        return links.list_all(channel)


def test_the_probe_names_the_route_that_is_in_the_way(bed: Bed) -> None:
    assert bed.host.run(lambda: range_problem("10.98.0.0/16", "10.99.0.0/16")) == ""
    problem = bed.host.run(lambda: range_problem("10.98.0.0/16", "10.1.0.0/16"))
    assert "pod range 10.1.0.0/16 overlaps with this host's route to 10.1.0.0/24" in problem
