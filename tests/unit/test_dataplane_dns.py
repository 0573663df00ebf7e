"""Cluster names (Kubernetes DNS specification 1.1.0), the server's manners, and forwarding."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.net_services import endpoint, port, service, slice_of
from tests.fakes.ports import free_port

from groundplane.base.clock import SystemClock
from groundplane.dataplane.dns.cache import AnswerCache
from groundplane.dataplane.dns.forward import Forwarder, NoAnswer, read_servers
from groundplane.dataplane.dns.server import CannotListen, DnsServer
from groundplane.dataplane.dns.zone import Zone
from groundplane.wire import dns

RANGES = [IPv4Network("10.96.0.0/16"), IPv4Network("10.244.0.0/16")]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def zone_of(*services: tuple[dict[str, Any], list[dict[str, Any]]]) -> Zone:
    zone = Zone("cluster.local", "10.96.0.10", RANGES)
    for one, slices in services:
        zone.set(one, slices)
    return zone


def headless(name: str = "db", **spec: Any) -> dict[str, Any]:
    return service(name, "None", port(5432, "sql"), **spec)


def hosts(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [slice_of("db", *(endpoint(a) | ({"hostname": h} if h else {}) for a, h in pairs), to=5432, port_name="sql")]


ZONE = zone_of(
    (service("web", "10.96.0.20", port(80, "http"), port(53, "dns", "UDP")), []),
    (headless(), hosts(("10.244.0.4", "db-0"), ("10.244.0.5", ""))),
    (headless("empty"), []),
    (service("out", type="ExternalName", externalName="example.org", clusterIP="", clusterIPs=[]), []),
    (service("alias", type="ExternalName", externalName="web.default.svc.cluster.local", clusterIPs=[]), []),
)


def ask(name: str, kind: int = dns.A, zone: Zone = ZONE) -> list[str] | None:
    """The answer in zone file words, sorted; None for a name error."""
    answer = zone.answer(dns.name(name), kind)
    return sorted(words(r) for r in answer.records) if answer.exists else None


def words(record: dns.Record) -> str:
    match record.type:
        case dns.A:
            return f"A {socket.inet_ntoa(record.data)}"
        case dns.SRV:
            weight, number = struct.unpack(">2xHH", record.data[:6])
            return f"SRV {weight} {number} {dns.show(dns.target_of(record._replace(data=record.data[6:])))}"
        case dns.TXT:
            return f"TXT {record.data[1:].decode()}"
        case dns.CNAME | dns.PTR | dns.NS:
            return f"{ {5: 'CNAME', 12: 'PTR', 2: 'NS'}[record.type] } {dns.show(dns.target_of(record))}"
    return f"TYPE{record.type}"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.default.svc.cluster.local", dns.A, ["A 10.96.0.20"]),
        ("WEB.Default.svc.CLUSTER.local.", dns.A, ["A 10.96.0.20"]),
        ("web.default.svc.cluster.local", dns.AAAA, []),
        ("none.default.svc.cluster.local", dns.A, None),
        ("web.other.svc.cluster.local", dns.A, None),
        ("default.svc.cluster.local", dns.A, []),
        ("other.svc.cluster.local", dns.A, None),
        ("svc.cluster.local", dns.A, []),
        ("db.default.svc.cluster.local", dns.A, ["A 10.244.0.4", "A 10.244.0.5"]),
        ("db-0.db.default.svc.cluster.local", dns.A, ["A 10.244.0.4"]),
        ("10-244-0-5.db.default.svc.cluster.local", dns.A, ["A 10.244.0.5"]),
        ("db-9.db.default.svc.cluster.local", dns.A, None),
        ("empty.default.svc.cluster.local", dns.A, None),
        ("x.web.default.svc.cluster.local", dns.A, None),
        (
            "_http._tcp.web.default.svc.cluster.local",
            dns.SRV,
            ["SRV 100 80 web.default.svc.cluster.local."],
        ),
        ("_dns._udp.web.default.svc.cluster.local", dns.SRV, ["SRV 100 53 web.default.svc.cluster.local."]),
        ("_dns._tcp.web.default.svc.cluster.local", dns.SRV, None),
        (
            "_sql._tcp.db.default.svc.cluster.local",
            dns.SRV,
            [
                "SRV 50 5432 10-244-0-5.db.default.svc.cluster.local.",
                "SRV 50 5432 db-0.db.default.svc.cluster.local.",
            ],
        ),
        ("_tcp.web.default.svc.cluster.local", dns.A, []),
        ("out.default.svc.cluster.local", dns.CNAME, ["CNAME example.org."]),
        ("out.default.svc.cluster.local", dns.A, ["CNAME example.org."]),
        ("alias.default.svc.cluster.local", dns.A, ["A 10.96.0.20", "CNAME web.default.svc.cluster.local."]),
        ("10-244-0-9.default.pod.cluster.local", dns.A, ["A 10.244.0.9"]),
        ("10-244-0-900.default.pod.cluster.local", dns.A, None),
        ("20.0.96.10.in-addr.arpa", dns.PTR, ["PTR web.default.svc.cluster.local."]),
        ("4.0.244.10.in-addr.arpa", dns.PTR, ["PTR db-0.db.default.svc.cluster.local."]),
        ("5.0.244.10.in-addr.arpa", dns.PTR, None),
        ("dns-version.cluster.local", dns.TXT, ["TXT 1.1.0"]),
        ("ns.dns.cluster.local", dns.A, ["A 10.96.0.10"]),
        ("cluster.local", dns.NS, ["NS ns.dns.cluster.local."]),
        ("nothing.cluster.local", dns.A, None),
    ],
)
def test_names(name: str, kind: int, expected: list[str] | None) -> None:
    assert ask(name, kind) == expected


def test_what_the_zone_answers_for() -> None:
    assert ZONE.holds(dns.name("any.thing.Cluster.Local"))
    assert ZONE.holds(dns.name("1.0.96.10.in-addr.arpa"))
    assert not ZONE.holds(dns.name("cluster.local.example.org"))
    assert not ZONE.holds(dns.name("1.1.168.192.in-addr.arpa"))


def test_services_come_change_and_go() -> None:
    zone = zone_of((service("web", "10.96.0.20"), []))
    zone.set(service("web", "10.96.0.21"), [])
    assert ask("web.default.svc.cluster.local", zone=zone) == ["A 10.96.0.21"]
    assert ask("20.0.96.10.in-addr.arpa", dns.PTR, zone) is None
    zone.drop("default", "web")
    zone.drop("default", "web")
    assert ask("web.default.svc.cluster.local", zone=zone) is None
    assert ask("default.svc.cluster.local", zone=zone) is None


def test_unready_endpoints_of_a_headless_service_have_no_name() -> None:
    zone = zone_of((headless(), [slice_of("db", endpoint("10.244.0.4", ready=False), endpoint("10.244.0.5"))]))
    assert ask("db.default.svc.cluster.local", zone=zone) == ["A 10.244.0.5"]


def test_an_external_name_that_leads_round_ends() -> None:
    loop = service("a", type="ExternalName", externalName="a.default.svc.cluster.local", clusterIPs=[])
    assert ask("a.default.svc.cluster.local", zone=zone_of((loop, []))) == ["CNAME a.default.svc.cluster.local."] * 8


# The server


def query(name: str, kind: int = dns.A, **changes: Any) -> dns.Message:
    return dns.Message(77, (dns.Question(dns.name(name), kind),), recursion_desired=True, **changes)


async def served(message: dns.Message | bytes, resolv: Path | None = None, *, tcp: bool = False) -> dns.Message | None:
    server = DnsServer(ZONE, Forwarder(SystemClock(), ["10.96.0.10"], str(resolv or "/nonexistent")))
    server.filled()
    data = message if isinstance(message, bytes) else dns.encode(message)
    answer = await server.respond(data, tcp=tcp)
    await server.stop()
    return dns.decode(answer) if answer is not None else None


def test_a_name_error_says_how_long_it_holds(run: Run) -> None:
    answer = run(served(query("nothing.default.svc.cluster.local", edns=dns.Edns(4096))))
    assert (answer.code, answer.authoritative, answer.edns) == (dns.NAME_ERROR, True, dns.Edns(1232))
    [soa] = answer.authority
    assert (soa.type, soa.ttl, soa.data[-4:]) == (dns.SOA, 5, b"\0\0\0\5")


def test_an_answer_keeps_the_case_of_the_question(run: Run) -> None:
    answer = run(served(query("WeB.default.svc.cluster.local")))
    assert answer.questions[0].name[0] == answer.answers[0].name[0] == b"WeB"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (query("cluster.local", dns.AXFR), dns.REFUSED),
        (dns.Message(1, (dns.Question(dns.name("a"), 1, 3),)), dns.REFUSED),
        (dns.Message(1, (dns.Question(dns.name("a"), 1),), opcode=4), dns.NOT_IMPLEMENTED),
        (dns.Message(1), dns.FORMAT_ERROR),
        (query("a", edns=dns.Edns(512, version=1)), dns.BAD_VERSION),
        (b"\0\1\0\0\0\1\0\0\0\0\0\0\xc0\x0c", dns.FORMAT_ERROR),
        (query("example.org"), dns.SERVER_FAILURE),
    ],
    ids=["transfer", "class", "opcode", "no question", "version", "damaged", "no servers"],
)
def test_what_is_no_question_of_ours_gets_an_error(run: Run, message: dns.Message | bytes, code: int) -> None:
    assert run(served(message)).code == code


def test_answers_and_rubbish_get_no_answer(run: Run) -> None:
    assert run(served(dns.Message(1, response=True))) is None
    assert run(served(b"rubbish")) is None


def test_a_long_answer_is_truncated_over_udp_only(run: Run) -> None:
    many = [slice_of("db", *(endpoint(f"10.244.{i}.{j}") for i in range(2) for j in range(1, 101)))]
    zone = zone_of((headless(), many))

    async def work() -> None:
        server = DnsServer(zone, Forwarder(SystemClock(), [], "/nonexistent"))
        server.filled()
        data = dns.encode(query("db.default.svc.cluster.local"))
        udp, tcp = await server.respond(data), await server.respond(data, tcp=True)
        assert udp is not None and tcp is not None
        assert dns.decode(udp).truncated and len(udp) <= 512
        assert len(dns.decode(tcp).answers) == 200

    run(work())


def test_before_the_zone_is_filled_cluster_names_wait(run: Run) -> None:
    async def work() -> None:
        server = DnsServer(ZONE, Forwarder(SystemClock(), [], "/nonexistent"))
        answer = asyncio.ensure_future(server.respond(dns.encode(query("web.default.svc.cluster.local"))))
        await asyncio.sleep(0.01)
        assert not answer.done()
        server.filled()
        data = await answer
        assert data is not None and len(dns.decode(data).answers) == 1

    run(work())


# Forwarding


class Upstream(asyncio.DatagramProtocol):
    """A name server that answers every A question with 192.0.2.7, where asked to after two strays."""

    def __init__(self, *, silent: bool = False, strays: bool = False) -> None:
        self.asked: list[dns.Message] = []
        self._silent, self._strays = silent, strays

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asked = dns.decode(data)
        self.asked.append(asked)
        if self._silent:
            return
        answer = answer_to(asked)
        if self._strays:
            self.transport.sendto(b"rubbish", addr)
            self.transport.sendto(dns.encode(answer)[:1] + b"\xff" + dns.encode(answer)[2:], addr)
        self.transport.sendto(dns.encode(answer), addr)


def answer_to(asked: dns.Message) -> dns.Message:
    return dns.reply(asked, answers=(dns.Record(asked.questions[0].name, dns.A, 60, b"\xc0\0\2\7"),))


async def upstream(address: str, number: int, **behaviour: bool) -> tuple[Any, Upstream]:
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(lambda: Upstream(**behaviour), local_addr=(address, number))


@pytest.fixture
def resolv(state_root: Path) -> Path:
    path = state_root / "resolv.conf"
    path.write_text("search example.org\nnameserver 127.0.0.1\n")
    return path


def test_other_names_are_asked_of_the_hosts_server(run: Run, resolv: Path) -> None:
    async def work() -> None:
        number = free_port()
        transport, server = await upstream("127.0.0.1", number, strays=True)
        forwarder = Forwarder(SystemClock(), [], str(resolv), number)
        asked = query("example.org", edns=dns.Edns(1232))
        answers = await asyncio.gather(*(forwarder.ask(asked) for _ in range(5)))
        assert {dns.decode(a).id for a in answers} == {77}
        assert len(server.asked) == 1  # five askers, one question
        assert server.asked[0].edns == dns.Edns(1232)
        again = dns.decode(await forwarder.ask(replace(asked, id=78)))
        assert (again.id, words(again.answers[0]), len(server.asked)) == (78, "A 192.0.2.7", 1)
        dns_server = DnsServer(ZONE, forwarder)
        dns_server.filled()
        chased = await dns_server.respond(dns.encode(query("out.default.svc.cluster.local")))
        assert chased is not None
        assert [words(r) for r in dns.decode(chased).answers] == ["CNAME example.org.", "A 192.0.2.7"]
        transport.close()
        await dns_server.stop()

    run(work())


def test_a_silent_server_is_asked_last_afterwards(run: Run, resolv: Path) -> None:
    async def work() -> None:
        number = free_port()
        resolv.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.1\nnameserver 10.96.0.10\n")
        transport, server = await upstream("127.0.0.1", number)
        forwarder = Forwarder(SystemClock(), ["10.96.0.10"], str(resolv), number)
        await forwarder.ask(query("example.org"))  # 127.0.0.2 has no listener: refused at once
        assert forwarder.servers() == ["127.0.0.1", "127.0.0.2"]
        assert len(server.asked) == 1
        transport.close()
        with pytest.raises(NoAnswer):
            await forwarder.ask(query("example.com"))
        await forwarder.close()

    run(work())


def test_answers_are_remembered_for_their_time(run: Run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cache = AnswerCache(clock)
        question = dns.Message(0, (dns.Question(dns.name("example.org"), dns.A),))
        cache.put(b"long", answer_to(question))
        cache.put(b"failed", dns.reply(question, code=dns.SERVER_FAILURE))
        cache.put(b"cut", replace(answer_to(question), truncated=True))
        soa = dns.Record(dns.name("org"), dns.SOA, 900, dns.soa((b"a",), (b"b",), 1, 7))
        cache.put(b"none", dns.reply(question, code=dns.NAME_ERROR, authority=(soa,)))
        cache.put(b"none without soa", dns.reply(question, code=dns.NAME_ERROR))
        for key in (b"failed", b"cut", b"none without soa", b"never asked"):
            assert cache.get(key) is None
        await clock.advance(6.5)
        none, long = cache.get(b"none"), cache.get(b"long")
        assert none is not None and long is not None
        assert (none.authority[0].ttl, long.answers[0].ttl) == (894, 54)
        await clock.advance(1)
        assert cache.get(b"none") is None
        await clock.advance(23)
        assert cache.get(b"long") is None  # 60 seconds are allowed, 30 are kept
        for i in range(1200):
            cache.put(str(i).encode(), answer_to(question))
        assert cache.get(b"199") is None and cache.get(b"200") is not None

    run(work())


def test_over_tcp_from_client_to_server(run: Run, resolv: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
        data = dns.encode(answer_to(dns.decode(await reader.readexactly(size))))
        writer.write(struct.pack(">H", len(data)) + data)
        writer.close()

    async def work() -> None:
        number, ours = free_port(), free_port()
        there = await asyncio.start_server(answer, "127.0.0.1", number)
        server = DnsServer(ZONE, Forwarder(SystemClock(), [], str(resolv), number))
        server.filled()
        await server.start("127.0.0.1", ours)
        with pytest.raises(CannotListen, match=r"cluster DNS cannot listen on 127\.0\.0\.1"):
            await DnsServer(ZONE, Forwarder(SystemClock(), [], str(resolv), number)).start("127.0.0.1", ours)
        reader, writer = await asyncio.open_connection("127.0.0.1", ours)
        for name in ("example.org", "web.default.svc.cluster.local"):
            data = dns.encode(query(name))
            writer.write(struct.pack(">H", len(data)) + data)
            (size,) = struct.unpack(">H", await reader.readexactly(2))
            assert dns.decode(await reader.readexactly(size)).answers
        writer.close()
        await server.stop()
        there.close()
        await there.wait_closed()

    run(work())


def test_a_question_that_comes_back_ends_with_a_timeout(run: Run, resolv: Path) -> None:
    """The host's name server is this very server."""

    async def work() -> None:
        ours = free_port()
        forwarder = Forwarder(SystemClock(), [], str(resolv), ours, timeout=0.2)
        server = DnsServer(ZONE, forwarder)
        await server.start("127.0.0.1", ours)
        with pytest.raises(NoAnswer):
            await forwarder.ask(query("example.org"))
        await server.stop()

    run(work())


def test_resolv_conf_as_the_c_library_reads_it() -> None:
    lines = ["# nameserver 1.1.1.1", "nameserver 9.9.9.9 # x", " nameserver fe80::1%eth0", "nameserver"]
    assert read_servers("\n".join([*lines, "nameserver 8.8.8.8", "nameserver 8.8.4.4"])) == [
        "9.9.9.9",
        "fe80::1",
        "8.8.8.8",
    ]
