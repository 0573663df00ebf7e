"""The garbage collector against a plain model of ownership, over random graphs, deletions and a cut watch.

The law: who lost all owners goes too; an orphaned dependent loses the reference and stays; what still has an owner
stays. How an owner was deleted, in the background or the foreground, does not change who is left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

from groundplane.client.client import Client
from groundplane.client.contract import ConnectionLost, Object, WatchEvent
from groundplane.client.informer import InformerFactory
from groundplane.client.resources import CONFIG_MAPS, Resource
from groundplane.controllers.garbagecollector.loop import GarbageCollector
from groundplane.controllers.runner import ClusterFacts, Context, Runner


class CutCluster(FakeCluster):
    """Watches end now and then."""

    def __init__(self, clock: VirtualClock, chance: random.Random) -> None:
        super().__init__(clock)
        self._chance = chance

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[WatchEvent, None]:
        async for event in super().watch(path, query):
            if self._chance.random() < 0.05:
                raise ConnectionLost("cut")
            await asyncio.sleep(0)
            yield event


class Model:
    """Names and their owners."""

    def __init__(self) -> None:
        self.owners: dict[str, set[str]] = {}

    def delete(self, name: str, policy: str) -> None:
        del self.owners[name]
        for owners in self.owners.values():
            if policy == "Orphan":
                owners.discard(name)
        while gone := [n for n, owners in self.owners.items() if owners and not owners & self.owners.keys()]:
            for each in gone:
                del self.owners[each]
        for owners in self.owners.values():  # what is left of a mixed set of owners are the living ones
            owners.intersection_update(self.owners)


async def known() -> Sequence[Resource]:
    return (CONFIG_MAPS,)


def config_map(name: str, owners: Sequence[Object], chance: random.Random) -> Object:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": chance.random() < 0.7,
        }
        for o in owners
    ]
    meta: Object = {"name": name, "namespace": "default"}
    if references:
        meta["ownerReferences"] = references
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


@pytest.mark.parametrize("seed", range(15))
def test_who_is_left(run, seed: int) -> None:
    async def work() -> None:
        chance = random.Random(seed)
        random.seed(seed)
        clock = VirtualClock()
        cluster = CutCluster(clock, chance)
        client = Client(cluster)
        context = Context(lambda _: client, InformerFactory(client, clock), clock, ClusterFacts(), known)
        runner = Runner(context, (GarbageCollector,))
        runner.start()
        await clock.advance(1)
        model = Model()
        made: dict[str, Object] = {}
        for number in range(30):
            alive = sorted(model.owners)
            if alive and chance.random() < 0.25:
                victim, policy = chance.choice(alive), chance.choice(["Background", "Foreground", "Orphan"])
                await client.config_maps.delete(victim, "default", propagation=policy)
                await clock.advance(30)
                model.delete(victim, policy)
                assert left(cluster) == {name: sorted(owners) for name, owners in model.owners.items()}
                continue
            owners = chance.sample(alive, min(len(alive), chance.choice([0, 0, 1, 1, 2, 3])))
            name = f"m{number:02}"
            made[name] = await client.config_maps.create(config_map(name, [made[o] for o in owners], chance))
            model.owners[name] = set(owners)
        await runner.stop()

    run(work())


def left(cluster: FakeCluster) -> dict[str, list[str]]:
    return {
        o["metadata"]["name"]: sorted(r["name"] for r in o["metadata"].get("ownerReferences") or ())
        for o in cluster.objects("configmaps")
    }
