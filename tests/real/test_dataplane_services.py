"""Services through the real kernel: who reaches whom, with which source address, and what a change disturbs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.net_bed import NODE_IP, Bed, Pod
from tests.fakes.net_host import NetHost, join
from tests.fakes.net_services import endpoint, port, service, slice_of

from groundplane.dataplane.services.plan import plan_service
from groundplane.dataplane.services.shapes import name
from groundplane.kernel.netlink import conntrack
from groundplane.kernel.netlink.channel import NETFILTER, Channel
from groundplane.kernel.nftables import listing

pytestmark = pytest.mark.needs("root", "net")
WEB = "10.96.0.20"
LEAVING = {"ready": False, "serving": True, "terminating": True}


@pytest.fixture
def bed(state_root: Path) -> Iterator[Bed]:
    with Bed(state_root) as made:
        yield made


def of(*pods: Pod) -> dict[str, Any]:
    return slice_of("web", *(endpoint(pod.address) for pod in pods))


def node_service(**spec: Any) -> dict[str, Any]:
    return service("web", WEB, port(80, node_port=30080), type="NodePort", **spec)


def test_a_pod_asks_another_and_its_source_is_kept(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    bed.show(service(), of(server))
    assert bed.ask(client, WEB, 80) == (server.address, client.address)


def test_a_pod_that_gets_itself_sees_the_node(bed: Bed) -> None:
    only = bed.pod()
    bed.show(service(), of(only))
    assert bed.ask(only, WEB, 80) == (only.address, NODE_IP)


def test_the_host_asks_a_service_with_its_own_address(bed: Bed) -> None:
    server = bed.pod()
    bed.show(service(), of(server))
    assert bed.ask(bed.host, WEB, 80) == (server.address, NODE_IP)


def test_a_service_of_the_node_itself(bed: Bed) -> None:
    """As the Service `kubernetes`: its endpoint is the API server on the node's address."""
    client = bed.pod()
    bed.serve(bed.host, NODE_IP, 6443)
    bed.show(service(), slice_of("web", endpoint(NODE_IP), to=6443))
    assert bed.ask(client, WEB, 80) == (NODE_IP, client.address)
    assert bed.ask(bed.host, WEB, 80) == (NODE_IP, NODE_IP)


def test_connections_are_spread_over_all_endpoints(bed: Bed) -> None:
    client, *servers = bed.pod(), bed.pod(), bed.pod(), bed.pod()
    bed.show(service(), of(*servers))
    seen = {bed.ask(client, WEB, 80)[0] for _ in range(60)}
    assert seen == {pod.address for pod in servers}


def test_several_ports_each_find_their_own(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod(8080, 9090)
    bed.serve(server.host, "0.0.0.0", 7070)
    one = service("web", WEB, port(80, "http"), port(90, "admin"))
    http = slice_of("web", endpoint(server.address), to=7070, port_name="http")
    admin = slice_of("web", endpoint(server.address), to=9090, port_name="admin")
    bed.show(one, http, admin)
    assert bed.ask(client, WEB, 80)[0] == "0.0.0.0"
    assert bed.ask(client, WEB, 90)[0] == server.address


def test_no_endpoints_is_a_refused_connection(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    bed.show(node_service())
    for where in (client, bed.host):
        for address, number in ((WEB, 80), (NODE_IP, 30080)):
            with pytest.raises(ConnectionRefusedError):
                bed.ask(where, address, number)
    bed.show(service(), of(server))
    assert bed.ask(client, WEB, 80)[0] == server.address


def test_a_virtual_address_never_reaches_a_server_of_the_host(bed: Bed) -> None:
    """The range is local to the host, so a server on 0.0.0.0 would answer where no Service does."""
    client = bed.pod()
    bed.serve(bed.host, "0.0.0.0", 22)
    bed.show(service(), of(client))
    for where in (client, bed.host):
        for address in (WEB, "10.96.200.1"):
            with pytest.raises(ConnectionRefusedError):
                bed.ask(where, address, 22)
    assert bed.ask(client, NODE_IP, 22)[0] == "0.0.0.0"


def test_a_node_port_from_everywhere(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    with NetHost() as outside:
        join(bed.host, outside, "192.168.7.1", "192.168.7.2")
        bed.show(node_service(), of(server))
        assert bed.ask(bed.host, NODE_IP, 30080) == (server.address, NODE_IP)
        assert bed.ask(bed.host, "127.0.0.1", 30080) == (server.address, NODE_IP)
        assert bed.ask(bed.host, "192.168.7.1", 30080) == (server.address, NODE_IP)
        assert bed.ask(client, NODE_IP, 30080) == (server.address, NODE_IP)
        assert bed.ask(server, NODE_IP, 30080) == (server.address, NODE_IP)
        assert bed.ask(outside, "192.168.7.1", 30080) == (server.address, NODE_IP)
        with pytest.raises(ConnectionRefusedError):
            bed.ask(client, WEB, 30080)  # a virtual address is none of the node's


def test_external_policy_local_keeps_the_source_and_stays_here(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    with NetHost() as outside:
        join(bed.host, outside, "192.168.7.1", "192.168.7.2")
        one = node_service(externalTrafficPolicy="Local")
        bed.show(one, of(server))
        assert bed.ask(outside, "192.168.7.1", 30080) == (server.address, "192.168.7.2")
        assert bed.ask(client, NODE_IP, 30080) == (server.address, client.address)
        assert bed.ask(bed.host, "127.0.0.1", 30080) == (server.address, NODE_IP)
        bed.show(one, slice_of("web", endpoint(server.address, node="n2")))
        with pytest.raises(TimeoutError):
            bed.ask(outside, "192.168.7.1", 30080, timeout=0.3)
        assert bed.ask(client, NODE_IP, 30080)[0] == server.address  # pods here get any endpoint


def test_internal_policy_local_drops_where_only_others_have_endpoints(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    one = service(internalTrafficPolicy="Local")
    bed.show(one, of(server))
    assert bed.ask(client, WEB, 80)[0] == server.address
    bed.show(one, slice_of("web", endpoint(server.address, node="n2")))
    with pytest.raises(TimeoutError):
        bed.ask(client, WEB, 80, timeout=0.3)


def test_a_client_is_kept_to_its_endpoint(bed: Bed) -> None:
    client, other, *servers = bed.pod(), bed.pod(), bed.pod(), bed.pod(), bed.pod()
    sticky = service(sessionAffinity="ClientIP")
    bed.show(sticky, of(*servers))
    mine = bed.ask(client, WEB, 80)[0]
    assert {bed.ask(client, WEB, 80)[0] for _ in range(20)} == {mine}
    assert len({bed.ask(pod, WEB, 80)[0] for pod in (client, other, *servers)}) >= 1
    # Another endpoint leaves: nothing changes for this client.
    others = [pod for pod in servers if pod.address != mine]
    bed.show(sticky, of(*(pod for pod in servers if pod is not others[0])))
    assert {bed.ask(client, WEB, 80)[0] for _ in range(20)} == {mine}
    # Its own endpoint leaves and comes again: the client stays with the one that it got meanwhile.
    bed.show(sticky, of(*others))
    now = bed.ask(client, WEB, 80)[0]
    assert now != mine
    bed.show(sticky, of(*servers))
    assert {bed.ask(client, WEB, 80)[0] for _ in range(20)} == {now}
    # Switched off: all are used again.
    bed.show(service(), of(*servers))
    assert len({bed.ask(client, WEB, 80)[0] for _ in range(60)}) == 3


def test_a_sticky_node_port(bed: Bed) -> None:
    servers = bed.pod(), bed.pod(), bed.pod()
    with NetHost() as outside:
        join(bed.host, outside, "192.168.7.1", "192.168.7.2")
        for policy in ("Cluster", "Local"):
            bed.show(node_service(sessionAffinity="ClientIP", externalTrafficPolicy=policy), of(*servers))
            assert len({bed.ask(outside, "192.168.7.1", 30080)[0] for _ in range(20)}) == 1


def test_affinity_ends_after_its_time(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    sticky = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 1}})
    bed.show(sticky, of(server))
    channel, affinity = bed.table._channel, bed.table._sets.affinity
    began = time.monotonic()
    bed.ask(client, WEB, 80)
    # Gone already where this process was kept waiting for longer than the affinity lasts.
    assert listing.elements(channel, affinity.table, affinity.name) or time.monotonic() - began >= 1
    until = time.monotonic() + 60
    while listing.elements(channel, affinity.table, affinity.name):
        assert time.monotonic() < until
        threading.Event().wait(0.1)


def test_udp_moves_to_another_endpoint_while_the_client_goes_on(bed: Bed) -> None:
    client, one, two = bed.pod(), bed.pod(udp=53), bed.pod(udp=53)
    dns = service("web", WEB, port(53, protocol="UDP"))
    udp = {"to": 53, "protocol": "UDP"}
    bed.show(dns, slice_of("web", endpoint(one.address), **udp))
    with client.host.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(30)
        asking.connect((WEB, 53))

        def ask() -> str:
            asking.send(b"?")
            return asking.recv(100).decode().split()[0]

        assert ask() == one.address
        bed.show(dns, slice_of("web", endpoint(two.address), **udp))
        assert ask() == two.address
        bed.hide("web")
        with pytest.raises(ConnectionRefusedError):
            ask()


def test_a_udp_flow_stays_while_its_endpoint_does(bed: Bed) -> None:
    client, one, two = bed.pod(), bed.pod(udp=53), bed.pod(udp=53)
    dns = service("web", WEB, port(53, protocol="UDP"))
    udp = {"to": 53, "protocol": "UDP"}

    def to_two() -> set[bytes]:
        def look() -> set[bytes]:
            with Channel(NETFILTER) as channel:
                return {flow.key for flow in conntrack.flows(channel, 17) if flow.reply.source == two.address}

        return bed.host.run(look)

    bed.show(dns, slice_of("web", endpoint(one.address), endpoint(two.address), **udp))
    while not to_two():
        with client.host.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
            asking.settimeout(30)
            asking.connect((WEB, 53))
            asking.send(b"?")
            asking.recv(100)
    known = to_two()
    bed.show(dns, slice_of("web", endpoint(two.address), **udp))  # it gets the slot of the one that left
    assert to_two() == known
    bed.show(dns, slice_of("web", endpoint(two.address), to=54, protocol="UDP"))
    assert not to_two()


def test_an_open_connection_outlives_its_endpoint_in_the_table(bed: Bed) -> None:
    client, one, two = bed.pod(), bed.pod(7000), bed.pod()
    listener = one.host.run(lambda: socket.create_server((one.address, 7001)))
    bed.show(service(), slice_of("web", endpoint(one.address), to=7001))
    with listener, client.host.run(lambda: socket.create_connection((WEB, 80), timeout=30)) as open_connection:
        accepted, _ = listener.accept()
        with accepted:
            bed.show(service(), of(two))
            open_connection.sendall(b"still here")
            assert accepted.recv(100) == b"still here"
            assert bed.ask(client, WEB, 80)[0] == two.address


def test_a_rolling_change_under_load_loses_no_request(bed: Bed) -> None:
    client, *servers = bed.pod(), bed.pod(), bed.pod(), bed.pod(), bed.pod()
    bed.show(service(), of(*servers[:2]))
    stop, failures, answers = threading.Event(), [], []

    def load() -> None:
        while not stop.is_set():
            try:
                answers.append(bed.ask(client, WEB, 80)[0])
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    until, round_ = time.monotonic() + 120, 0
    while (len(answers) < 300 or round_ < 40) and time.monotonic() < until:
        first, round_ = round_ % 4, round_ + 1
        bed.show(service(), of(*(servers[(first + i) % 4] for i in range(1 + round_ % 3))))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(answers) >= 300 and round_ >= 40


def test_a_restart_sends_nothing_where_nothing_changed(bed: Bed) -> None:
    client, server = bed.pod(), bed.pod()
    sticky = node_service(sessionAffinity="ClientIP")
    bed.show(sticky, of(client, server))
    mine = bed.ask(client, WEB, 80)[0]
    before = bed.host.shell("nft -a list table ip ground-abc123-services")
    bed.restart()
    remembered = bed.table.remembered_slots()
    bed.table.reconcile({"default/web": plan_service(sticky, [of(client, server)], "n1", remembered)})
    assert _without_expiry(bed.host.shell("nft -a list table ip ground-abc123-services")) == _without_expiry(before)
    assert bed.ask(client, WEB, 80)[0] == mine
    # And with changes that happened meanwhile, only those.
    bed.restart()
    bed.table.reconcile({})
    assert listing.elements(bed.table._channel, "ground-abc123-services", "backends") == []
    with pytest.raises(ConnectionRefusedError):
        bed.ask(client, WEB, 80)


def _without_expiry(text: str) -> str:
    return "\n".join(line.partition(" expires ")[0] for line in text.splitlines())


def test_nft_and_we_agree_and_nft_can_list_it(bed: Bed) -> None:
    server = bed.pod()
    bed.show(node_service(sessionAffinity="ClientIP", externalTrafficPolicy="Local"), of(server))
    bed.show(service("other", "10.96.0.21"), slice_of("other", endpoint(server.address)))
    text = bed.host.shell("nft list ruleset")
    assert "10.96.0.21 . tcp . 80 : goto pick-1" in text
    assert "10.96.0.20 . tcp . 80 : goto pick-1-sticky-10800" in text
    assert "tcp . 30080 : goto local-1-of-1-sticky-10800" in text
    assert f"10.96.0.21 . tcp . 80 . 0x00000000 : {server.address} . 8080" in text


def test_chains_of_shapes_that_nobody_has_do_not_gather(bed: Bed) -> None:
    server = bed.pod()
    for count in range(1, 60):
        bed.show(service(), slice_of("web", *(endpoint(f"10.244.7.{i}") for i in range(1, count + 1))))
    bed.show(service(), of(server))
    chains = [c for c in listing.chains(bed.table._channel, "ground-abc123-services") if c.startswith("pick")]
    assert len(chains) <= 40
    assert bed.ask(bed.host, WEB, 80)[0] == server.address


def test_two_thousand_services_and_one_change_is_two_elements(bed: Bed) -> None:
    server = bed.pod()
    plans = {}
    for i in range(2000):
        one = service(f"s{i}", f"10.96.{1 + i // 250}.{1 + i % 250}")
        plans[f"default/s{i}"] = plan_service(one, [slice_of(f"s{i}", endpoint(server.address))], "n1", {})
    bed.table.reconcile(plans)
    assert bed.ask(bed.host, "10.96.8.250", 80)[0] == server.address
    names = {name(shape) for plan in plans.values() for shape in plan.shapes.values()}
    assert names == {"pick-1"}
    chains = listing.chains(bed.table._channel, "ground-abc123-services")
    assert len(chains) < 12


def test_teardown_leaves_no_table(bed: Bed) -> None:
    bed.show(node_service(), of(bed.pod()))
    bed.table.teardown()
    bed.table.teardown()
    assert "ground-abc123-services" not in listing.tables(bed.table._channel)
