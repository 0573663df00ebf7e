"""Members of an etcd on hosts of their own, and the wire to one of them cut: packets vanish, nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.fakes.etcd import Cluster, Member
from tests.fakes.net_host import NetHost
from tests.real.etcd_storm import Storm, judge, truth
from tests.real.test_store_etcd_faults import ROUNDS

from groundplane.kernel.netlink import links
from groundplane.kernel.netlink.channel import Channel
from groundplane.store.contract import KeyExists, Store, StoreUnavailable
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("root", "net", "ip", "etcd")


class Wired:
    """Three members, each on a host of its own, and the host `here` in the middle, which has a wire to each."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.here = stack.enter_context(NetHost("10.77.0.1"))
        self.hosts = [stack.enter_context(NetHost()) for _ in range(3)]
        members = []
        for number, host in enumerate(self.hosts):
            self._plug(number, host)
            host.shell(f"ip address add 10.77.0.{number + 11}/24 dev wire && ip link set wire up")
            members.append(Member(directory, f"m{number}", f"10.77.0.{number + 11}", (), host.run))
        self.etcd = Cluster(members)
        stack.callback(self.etcd.close)
        self.etcd.start()

    def _plug(self, number: int, host: NetHost) -> None:
        name, near, far = (
            f"wire{number}",
            links.mac(f"02:00:00:00:02:0{number}"),
            links.mac(f"02:00:00:00:03:0{number}"),
        )

        def plug() -> None:
            with Channel() as channel:
                channel.perform(links.veth(name, "wire", host.fd, address=near, peer_address=far))

        self.here.run(plug)
        self.here.shell(f"ip link set {name} master uplink up")

    def cut(self, number: int) -> None:
        self.here.shell(f"ip link set wire{number} down")

    def mend(self, number: int) -> None:
        self.here.shell(f"ip link set wire{number} up")


@contextmanager
def wired(directory: Path) -> Iterator[Wired]:
    with ExitStack() as stack:
        yield Wired(directory, stack)


def test_wires_are_cut(state_root: Path) -> None:
    async def faults(storm: Storm, net: Wired) -> None:
        for number in range(2 * ROUNDS):
            await storm.progress()
            await asyncio.to_thread(net.cut, number % 3)
            await storm.progress()  # over the others, one of which may have to become the leader first
            await asyncio.to_thread(net.mend, number % 3)
        await storm.progress()

    async def scenario(net: Wired) -> None:
        url = net.etcd.url(timeout=1)
        stores: list[Store] = [await open_store(url), await open_store(url)]
        try:
            storm = Storm(stores)
            async with asyncio.timeout(120 + 60 * ROUNDS):
                await storm.run(lambda s: faults(s, net))
                judge(storm, await truth(url))
        finally:
            for store in stores:
                await store.close()

    with wired(state_root) as net:
        net.here.run(lambda: asyncio.run(scenario(net)))


async def written(store: Store, key: str, value: bytes) -> int:
    """The revision of a new key; on a busy host a member may not answer within this store's short patience."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await store.create(key, value)
            except StoreUnavailable:
                continue
            except KeyExists as exists:  # it had happened
                entry = await store.get(exists.key)
                assert entry is not None
                return entry.revision


def test_without_a_majority_there_is_a_sentence_and_then_it_goes_on(state_root: Path) -> None:
    async def scenario(net: Wired) -> None:
        store = await open_store(net.etcd.url(timeout=1))
        try:
            revision = await written(store, "/a", b"1")
            watch = store.watch("/", revision)
            for number in (1, 2):
                await asyncio.to_thread(net.cut, number)
            with pytest.raises(StoreUnavailable, match="etcd"):
                await store.update("/a", b"2", revision)
            with pytest.raises(StoreUnavailable):
                await store.sync()
            for number in (1, 2):
                await asyncio.to_thread(net.mend, number)
            async with asyncio.timeout(60):
                while True:
                    try:
                        entry = await store.get("/a")
                        break
                    except StoreUnavailable:
                        continue
                assert entry is not None
                if entry.revision == revision:  # what was not answered may have happened, or not
                    revision = await store.update("/a", b"3", revision)
                else:
                    assert entry.value == b"2"
                    revision = entry.revision
                while not (events := watch.pending()):
                    await asyncio.sleep(0.01)
                assert [e.revision for e in events] == [revision]
        finally:
            await store.close()

    with wired(state_root) as net:
        net.here.run(lambda: asyncio.run(scenario(net)))
