"""A host of one's own for tests that make links and nf_tables: a network namespace that lives as long as the object.

The namespace is held open by a file descriptor and has a path (`/proc/PID/fd/N`), so it needs no mount and ends with
the test, with everything in it, also when the test fails. The machine's own tables are never touched.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import TypeVar

from groundplane.kernel.netlink import addresses, links, netns
from groundplane.kernel.netlink.channel import Channel

T = TypeVar("T")


class NetHost:
    """`address` is what the host has besides loopback, on a link of its own (`uplink`)."""

    def __init__(self, address: str = "", prefix: int = 24) -> None:
        self._fd = netns.inside_new(lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.run(lambda: _set_up(address, prefix))

    @property
    def fd(self) -> int:
        return self._fd

    def run(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread inside this host; threads and processes that it starts are inside too."""
        return netns.inside(self.path, work)

    def shell(self, command: str) -> str:
        """Standard output of a shell command inside this host; raises CalledProcessError with its output."""
        done = self.run(
            lambda: subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> NetHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join(one: NetHost, other: NetHost, one_address: str, other_address: str, name: str = "wire0") -> None:
    """A cable between two hosts, with an address/24 at each end."""

    def plug() -> None:
        with Channel() as channel:
            ends = {"address": links.mac("02:00:00:00:01:01"), "peer_address": links.mac("02:00:00:00:01:02")}
            channel.perform(links.veth(name, name, other.fd, **ends))

    one.run(plug)
    for host, address in ((one, one_address), (other, other_address)):
        host.run(lambda address=address: _address(name, address))  # type: ignore[misc]


def _address(name: str, address: str) -> None:
    with Channel() as channel:
        link = links.find(channel, name)
        assert link is not None
        channel.perform(addresses.add(link.number, address, 24), links.up(link.number, name))


def _set_up(address: str, prefix: int) -> None:
    with Channel() as channel:
        links.loopback_up(channel)
        if address:
            channel.perform(links.simple("uplink", "bridge"))
            link = links.find(channel, "uplink")
            assert link is not None
            channel.perform(addresses.add(link.number, address, prefix), links.up(link.number))
