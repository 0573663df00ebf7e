"""Informers against the fake cluster: cache, handlers, indexes, lost connections, expired revisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object, WatchEvent
from groundplane.client.informer import Handler, InformerFactory, owner_index
from groundplane.client.objects import key_of, replace_in
from groundplane.client.resources import PODS


def pod(name: str, namespace: str = "default", **labels: str) -> Object:
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}}


class Tape:
    """A handler that writes down what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.handler = Handler(
            add=lambda o: self.told.append(f"+{o['metadata']['name']}"),
            update=lambda _, o: self.told.append(f"~{o['metadata']['name']}"),
            delete=lambda o: self.told.append(f"-{o['metadata']['name']}"),
        )


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def test_list_then_watch_fills_cache_and_tells_changes(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        client = Client(FakeCluster(clock))
        await client.pods.create(pod("a"))
        factory = InformerFactory(client, clock)
        informer = factory.informer(PODS)
        tape = Tape()
        informer.add_handler(tape.handler)
        factory.start()
        await factory.synced()
        b = await client.pods.create(pod("b", "other"))
        await client.pods.update(replace_in(b, ("metadata", "labels"), {"x": "y"}))
        await client.pods.delete("a", "default")
        await settle()
        assert tape.told == ["+a", "+b", "~b", "-a"]
        assert [key_of(o) for o in informer.cache] == [("other", "b")]
        assert informer.cache.list("other")[0]["metadata"]["labels"] == {"x": "y"}
        late = Tape()
        informer.add_handler(late.handler)
        assert late.told == ["+b"]
        assert factory.informer(PODS) is informer
        await factory.stop()

    run(work())


def test_selectors_and_indexes(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        client = Client(FakeCluster(clock))
        factory = InformerFactory(client, clock)
        informer = factory.informer(PODS, label_selector="app=web")
        informer.cache.add_index("owner", owner_index)
        factory.start()
        await factory.synced()
        owned = pod("a", app="web")
        owned["metadata"]["ownerReferences"] = [{"uid": "u1", "controller": True}]
        made = await client.pods.create(owned)
        await client.pods.create(pod("b", app="db"))
        await settle()
        assert [o["metadata"]["name"] for o in informer.cache] == ["a"]
        assert len(informer.cache.by_index("owner", "u1")) == 1
        await client.pods.update(replace_in(made, ("metadata", "labels"), {"app": "other"}))
        await settle()
        assert len(informer.cache) == 0
        assert informer.cache.by_index("owner", "u1") == []
        await factory.stop()

    run(work())


class Flaky(FakeCluster):
    """The watch fails as told, once for each entry."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.failures: list[Exception] = []
        self.watches: list[str] = []
        self.broken = asyncio.Event()

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[WatchEvent, None]:
        self.watches.append(query["resourceVersion"])
        if self.failures:
            await self.broken.wait()
            raise self.failures.pop(0)
        async for event in super().watch(path, query):
            yield event


def test_a_lost_connection_resumes_and_gone_relists(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = Flaky(clock)
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        cluster.failures = [ConnectionLost("cut"), ApiError(gone)]
        client = Client(cluster)
        await client.pods.create(pod("a"))
        await client.pods.create(pod("b"))
        factory = InformerFactory(client, clock)
        informer = factory.informer(PODS)
        tape = Tape()
        informer.add_handler(tape.handler)
        factory.start()
        await factory.synced()
        await client.pods.delete("a", "default")
        await client.pods.create(pod("c"))
        cluster.broken.set()
        await clock.advance(10)
        await settle()
        assert cluster.watches == ["2", "2", "4"]  # resumed, then listed anew at revision 4
        assert tape.told == ["+a", "+b", "-a", "+c"]
        assert sum(1 for m, _ in cluster.calls if m == "GET") == 2
        await factory.stop()

    run(work())


def test_a_faulty_handler_does_not_stop_the_others(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        client = Client(FakeCluster(clock))
        factory = InformerFactory(client, clock)
        informer = factory.informer(PODS)

        def fails(_: Object) -> None:
            raise ValueError("bad handler")

        tape = Tape()
        informer.add_handler(Handler(add=fails))
        informer.add_handler(tape.handler)
        factory.start()
        await factory.synced()
        await client.pods.create(pod("a"))
        await settle()
        assert tape.told == ["+a"]
        await factory.stop()

    run(work())
