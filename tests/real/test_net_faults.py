"""The pod network killed with -9 before each of its words to the kernel: what is left can be swept, or gone on with."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.net_host import NetHost

from groundplane.engine.networks.pods import PodNetwork
from groundplane.kernel.netlink import links, routes
from groundplane.kernel.netlink.channel import NETFILTER, Channel
from groundplane.kernel.nftables import listing

pytestmark = pytest.mark.needs("root", "net")
VICTIM = str(Path(__file__).with_name("net_victim.py"))


def killed(host: NetHost, root: Path, pod: NetHost, last: int) -> bool:
    """Run the victim; whether it was killed (False: it came to its end first)."""
    command = [sys.executable, VICTIM, str(root), pod.path, str(last)]
    done = host.run(lambda: subprocess.run(command, capture_output=True, text=True, timeout=120, check=False))
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


async def next_life(root: Path, pod: NetHost) -> None:
    """Nobody knows the sandboxes any more; then the same namespace is attached again, and let go."""
    network = PodNetwork(str(root), "abc123")
    with Channel() as channel, Channel(NETFILTER) as netfilter:
        await network.configure("10.244.0.0/24", "10.1.0.1", "10.244.0.0/16")
        await network.sweep([])
        assert [link.name for link in links.list_all(channel)] == ["lo", "uplink"]
        assert listing.elements(netfilter, "ground-abc123-pods", "hairpin") == []
        assert [p.name for p in (root / "pods").iterdir() if p.name != "last"] == []
        address = await network.attach(pod.path, "c" * 64)
        assert [r.destination for r in routes.list_all(channel, protocol=routes.PROTOCOL)] == [f"{address}/32"]
        await network.teardown()
        await network.close()
        assert listing.tables(netfilter) == {}
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "0\n"


def test_killed_before_each_word_to_the_kernel(state_root: Path) -> None:
    last = 0
    with NetHost("10.1.0.1") as host:
        host.shell("sysctl -qw net.ipv4.ip_forward=0")
        alive = True
        while alive:
            last += 1
            with NetHost() as pod:
                alive = killed(host, state_root, pod, last)
                if alive:
                    host.run(lambda pod=pod: asyncio.run(next_life(state_root, pod)))  # type: ignore[misc]
    assert last > 20
