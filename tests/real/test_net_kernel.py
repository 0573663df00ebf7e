"""rtnetlink, nf_tables and ctnetlink against the real kernel, inside network namespaces of the test's own."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
from tests.fakes.net_host import NetHost, join

from groundplane.kernel.netlink import addresses, conntrack, links, neighbours, routes, rules
from groundplane.kernel.netlink.channel import NETFILTER, Channel, NetlinkError
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

pytestmark = pytest.mark.needs("root", "net")
R = x.R


@pytest.fixture
def host() -> Iterator[NetHost]:
    with NetHost() as made:
        yield made


def test_a_veth_pair_is_made_across_two_namespaces_and_deleted_as_one(host: NetHost) -> None:
    with NetHost() as other:

        def work() -> None:
            with Channel() as channel:
                pair = links.veth("a0", "b0", other.fd, address=b"\2\0\0\0\0\1", peer_address=b"\2\0\0\0\0\2", mtu=1400)
                channel.perform(pair)
                made = links.find(channel, "a0")
                assert made is not None
                assert (made.kind, made.mtu, made.address.hex()) == ("veth", 1400, "020000000001")
                with pytest.raises(NetlinkError, match="make veth pair a0 – b0: File exists"):
                    channel.perform(pair)
                channel.perform(links.delete("a0"), links.delete("a0"))
                assert links.find(channel, "a0") is None

        host.run(work)
        with other.run(Channel) as channel:
            assert [link.name for link in links.list_all(channel)] == ["lo"]


def test_addresses_routes_neighbours_and_rules_are_what_was_asked(host: NetHost) -> None:
    with host.run(Channel) as channel:
        channel.perform(addresses.add(1, "10.1.2.3"), links.simple("br", "bridge"))
        bridge = links.find(channel, "br")
        assert bridge is not None
        channel.perform(
            links.up(bridge.number),
            routes.to("10.5.0.9/32", bridge.number, source="10.1.2.3"),
            routes.to("10.96.0.0/16", 1, source="10.1.2.3", kind=routes.LOCAL, table=routes.TABLE_LOCAL),
            neighbours.permanent(bridge.number, "10.5.0.9", b"\2\0\0\0\0\7"),
            rules.to_table(100, 555, mark=7),
        )
        assert addresses.Address(1, "10.1.2.3", 32, 0) in addresses.list_all(channel)
        [pod] = routes.list_all(channel, protocol=routes.PROTOCOL)
        assert (pod.destination, pod.link, pod.source) == ("10.5.0.9/32", bridge.number, "10.1.2.3")
        [service] = routes.list_all(channel, table=routes.TABLE_LOCAL, protocol=routes.PROTOCOL)
        assert service.kind == routes.LOCAL
        [known] = neighbours.list_all(channel)
        assert known == (bridge.number, "10.5.0.9", b"\2\0\0\0\0\7", True)
        assert rules.Rule(555, 100, 7) in rules.list_all(channel)
        gone = routes.delete("10.5.0.9/32"), routes.delete("10.5.0.9/32")
        channel.perform(*gone, rules.delete(100, 555, mark=7), addresses.delete(1, "10.1.2.3"))
        assert routes.list_all(channel, protocol=routes.PROTOCOL) == []


def test_a_refusal_names_the_one_of_many_and_the_others_are_done(host: NetHost) -> None:
    with host.run(Channel) as channel:
        wanted = (addresses.add(1, "10.0.0.1"), addresses.add(99, "10.0.0.2"), addresses.add(1, "10.0.0.3"))
        with pytest.raises(NetlinkError, match=r"add address 10\.0\.0\.2/32 on link 99: .*ENODEV.*Device not found"):
            channel.perform(*wanted)
        assert {a.address for a in addresses.list_all(channel, 1)} == {"127.0.0.1", "10.0.0.1", "10.0.0.3"}


def test_a_links_sysctls_are_set_without_proc(host: NetHost) -> None:
    with host.run(Channel) as channel:
        channel.perform(links.ipv4_conf(1, {links.ROUTE_LOCALNET: 1, links.SEND_REDIRECTS: 0, links.PROXY_ARP: 1}))
    conf = "/proc/sys/net/ipv4/conf/lo"
    assert host.shell(f"cat {conf}/route_localnet {conf}/send_redirects {conf}/proxy_arp").split() == ["1", "0", "1"]


def table_of_everything(name: str) -> Transaction:
    marks = o.Set(name, "chains", (o.MARK_TYPE,), verdicts=True)
    pairs = o.Set(name, "pairs", (o.IPV4_TYPE, o.PORT_TYPE), data=(o.IPV4_TYPE, o.PORT_TYPE))
    clients = o.Set(name, "clients", (o.IPV4_TYPE,), dynamic=True, timeout=60, size=1000)
    ranges = o.Set(name, "ranges", (o.IPV4_TYPE,), interval=True)
    both = o.Set(name, "both", (o.IPV4_TYPE, o.PORT_TYPE), interval=True)
    t = Transaction([o.add_table(name, "made by a test")])
    t.add(*(o.add_set(s) for s in (marks, pairs, clients, ranges, both)))
    t.add(
        o.add_base_chain(name, "in", "filter", o.INPUT, o.FILTER),
        o.add_base_chain(name, "pre", "nat", o.PREROUTING, o.DSTNAT),
        o.add_base_chain(name, "post", "nat", o.POSTROUTING, o.SRCNAT),
        o.add_chain(name, "other"),
        o.add_rule(name, "other", x.counter(), x.log("other: "), x.leave()),
        o.add_rule(name, "in", x.saddr(R[0]), x.jhash(R[1], R[0], 4, 2), x.cmp(R[1], x.host32(1)), x.jump("other")),
        o.add_rule(
            name, "in", x.ct_state(R[0]), x.mask(R[0], x.host32(x.CT_NEW)), x.cmp(R[0], x.host32(0)), x.accept()
        ),
        o.add_rule(name, "in", x.saddr(R[0]), x.remember("clients", R[0], seconds=30)),
        o.add_rule(name, "in", x.saddr(R[0]), x.lookup("ranges", R[0]), x.reject()),
        o.add_rule(name, "in", x.saddr(R[0]), x.not_in("clients", R[0]), x.drop()),
        o.add_rule(name, "in", x.l4proto(R[0]), x.cmp(R[0], b"\6"), x.reset()),
        o.add_rule(name, "in", x.mark(R[0]), x.lookup("chains", R[0], x.VERDICT)),
        o.add_rule(name, "pre", x.daddr(R[0]), x.dport(R[1]), x.lookup("pairs", R[0], R[4]), x.dnat(R[4], R[5])),
        o.add_rule(name, "pre", x.fib_daddr_type(R[0]), x.cmp(R[0], x.host32(x.LOCAL)), comment="local"),
        o.add_rule(name, "post", x.oifname(R[0]), x.cmp(R[0], b"gab"), x.masquerade()),
        o.add_rule(name, "post", x.ct_original_daddr(R[0]), x.immediate(R[0], b"\x0a\0\0\1"), x.snat(R[0])),
    )
    t.extend(o.add_elements(marks, [o.Element(x.host32(3), verdict=x.goto_data("other"))]))
    pair = o.Element(o.key_bytes(b"\x0a\0\0\2", b"\0\x50"), o.key_bytes(b"\x0a\0\0\3", b"\x1f\x90"))
    t.extend(o.add_elements(pairs, [pair]))
    t.extend(o.add_elements(ranges, [o.Element(b"\x0a\1\0\0", end=b"\x0a\1\xff\xff")]))
    corner = o.Element(o.key_bytes(b"\x0a\1\0\0", b"\0\1"), end=o.key_bytes(b"\x0a\1\0\xff", b"\0\x63"))
    t.extend(o.add_elements(both, [corner]))
    return t


def test_the_kernel_takes_every_expression_and_lists_it_back(host: NetHost) -> None:
    with host.run(lambda: Channel(NETFILTER)) as channel:
        table_of_everything("t").commit(channel)
        assert listing.tables(channel) == {"t": "made by a test"}
        assert set(listing.chains(channel, "t")) == {"in", "pre", "post", "other"}
        assert [r.comment for r in listing.rules(channel, "t", "pre")] == ["", "local"]
        [chain] = listing.elements(channel, "t", "chains")
        assert (chain.key, chain.verdict) == (x.host32(3), b"other")
        [pair] = listing.elements(channel, "t", "pairs")
        assert pair.data == o.key_bytes(b"\x0a\0\0\3", b"\x1f\x90")
        assert listing.elements(channel, "t", "no such set") == []
        Transaction([o.delete_table("t")]).commit(channel)
        assert listing.tables(channel) == {}


@pytest.mark.needs("nft")
def test_nft_reads_our_table(host: NetHost) -> None:
    with host.run(lambda: Channel(NETFILTER)) as channel:
        table_of_everything("t").commit(channel)
    text = host.shell("nft list ruleset")
    for line in (
        'comment "made by a test"',
        "elements = { 10.1.0.0/16 }",
        "elements = { 10.1.0.0/24 . 1-99 }",
        "10.0.0.2 . 80 : 10.0.0.3 . 8080",
        "ip saddr @ranges reject",
        "update @clients { ip saddr timeout 30s }",
        "dnat ip to ip daddr . th dport map @pairs",
        'oifname "gab*" masquerade',
        "fib daddr type local",
        'log prefix "other: "',
        "reject with tcp reset",
    ):
        assert line in text, f"{line!r} is not in\n{text}"


def test_a_refused_transaction_changes_nothing(host: NetHost) -> None:
    with host.run(lambda: Channel(NETFILTER)) as channel:
        t = Transaction([o.add_table("t"), o.add_chain("t", "c"), o.delete_set("t", "missing"), o.add_chain("t", "d")])
        with pytest.raises(NetlinkError, match="delete set ip t missing: No such file or directory") as caught:
            t.commit(channel)
        assert caught.value.errno == errno.ENOENT
        assert listing.tables(channel) == {}


def test_an_empty_transaction_is_no_call(host: NetHost) -> None:
    with host.run(lambda: Channel(NETFILTER)) as channel:
        Transaction().commit(channel)


def test_twenty_thousand_elements_fit_into_one_transaction(host: NetHost) -> None:
    numbers = o.Set("t", "numbers", (o.MARK_TYPE,))
    with host.run(lambda: Channel(NETFILTER)) as channel:
        t = Transaction([o.add_table("t"), o.add_set(numbers)])
        t.extend(o.add_elements(numbers, (o.Element(x.host32(i)) for i in range(20_000))))
        t.commit(channel)
        assert len(listing.elements(channel, "t", "numbers")) == 20_000


def test_udp_flows_are_listed_and_forgotten(host: NetHost) -> None:
    with NetHost() as other:
        join(host, other, "10.9.0.1", "10.9.0.2")
        with host.run(lambda: Channel(NETFILTER)) as channel:
            # Connection tracking works in a namespace only where a rule asks for it.
            track = o.add_rule("t", "out", x.ct_state(R[0]), x.cmp(R[0], x.host32(x.CT_NEW)), x.counter())
            chain = o.add_base_chain("t", "out", "filter", o.OUTPUT, o.FILTER)
            Transaction([o.add_table("t"), chain, track]).commit(channel)
            with host.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
                client.connect(("10.9.0.2", 53))
                client.send(b"hello")
                [flow] = conntrack.flows(channel, socket.IPPROTO_UDP)
                assert (flow.original.destination, flow.original.destination_port) == ("10.9.0.2", 53)
                assert conntrack.flows(channel, socket.IPPROTO_TCP) == []
                assert conntrack.forget(channel, socket.IPPROTO_UDP, lambda f: f.reply.source == "10.9.0.3") == 0
                assert conntrack.forget(channel, socket.IPPROTO_UDP, lambda f: f.reply.source == "10.9.0.2") == 1
                assert conntrack.flows(channel, socket.IPPROTO_UDP) == []
