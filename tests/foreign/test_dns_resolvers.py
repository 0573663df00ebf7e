"""Cluster DNS asked by the resolvers that applications have: the C library's and busybox's, from inside a pod."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.net_bed import SERVICES, Bed
from tests.fakes.net_services import endpoint, port, service, slice_of

from groundplane.base.clock import SystemClock
from groundplane.dataplane.dns.forward import Forwarder
from groundplane.dataplane.dns.server import DnsServer
from groundplane.dataplane.dns.zone import Zone

pytestmark = pytest.mark.needs("root", "net")
SEARCH = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"


@pytest.fixture
def bed(state_root: Path) -> Iterator[Bed]:
    (state_root / "resolv.conf").write_text(SEARCH)
    with Bed(state_root) as made:
        yield made


def in_pod(bed: Bed, root: Path, words: str) -> str:
    """Output of a command in a new pod that has a pod's resolv.conf, while cluster DNS runs on the host."""
    pod = bed.pod()
    zone = Zone("cluster.local", "10.96.0.10", [SERVICES])
    zone.set(service(), [])
    named = endpoint("10.244.0.9") | {"hostname": "db-0"}
    zone.set(service("db", "None", port(5432, "sql")), [slice_of("db", named, to=5432, port_name="sql")])
    script = f"mount --bind {root}/resolv.conf /etc/resolv.conf && {words}"

    async def serve() -> str:
        server = DnsServer(zone, Forwarder(SystemClock(), ["10.96.0.10"], "/nonexistent"))
        server.filled()
        await server.start("10.96.0.10")
        try:
            return await asyncio.to_thread(
                pod.host.run,
                lambda: subprocess.check_output(["unshare", "-m", "sh", "-c", script], text=True, timeout=30),
            )
        finally:
            await server.stop()

    return bed.host.run(lambda: asyncio.run(serve()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", "10.96.0.20"),
        ("web.default", "10.96.0.20"),
        ("web.default.svc.cluster.local", "10.96.0.20"),
        ("db-0.db", "10.244.0.9"),
    ],
)
def test_the_c_library_finds_short_and_long_names(bed: Bed, state_root: Path, name: str, expected: str) -> None:
    assert in_pod(bed, state_root, f"getent ahostsv4 {name}").startswith(expected)


def test_the_c_library_says_that_a_name_does_not_exist(bed: Bed, state_root: Path) -> None:
    # getent's exit code 2: the key was not found; a server that cannot be asked would take ten seconds.
    assert in_pod(bed, state_root, "getent ahosts nothing.default.svc.cluster.local || echo code $?") == "code 2\n"


def test_an_address_has_a_name(bed: Bed, state_root: Path) -> None:
    assert "web.default.svc.cluster.local" in in_pod(bed, state_root, "getent hosts 10.96.0.20")


@pytest.mark.needs("busybox")
def test_busybox_nslookup(bed: Bed, state_root: Path) -> None:
    assert "Address: 10.96.0.20" in in_pod(bed, state_root, "busybox nslookup web.default.svc.cluster.local")
