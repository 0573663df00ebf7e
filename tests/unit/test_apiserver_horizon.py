"""Lists look back ten minutes at most, as after upstream's compaction, though the store keeps more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.fakes.machine import Bench, bench

from groundplane.apiserver.upkeep import HORIZON_EVERY, Upkeep

MAPS = "/api/v1/namespaces/default/configmaps"
Run = Callable[[Awaitable[None]], None]


async def made(b: Bench, name: str) -> dict[str, Any]:
    return dict(await b.ok("POST", MAPS, {"metadata": {"name": name}}))


def test_tokens_and_exact_reads_expire(run: Run) -> None:
    async def scenario() -> None:
        async with bench() as b:
            upkeep = Upkeep(b.machine, "127.0.0.1")
            upkeep.start()
            for name in "abc":
                last = await made(b, name)
            version = last["metadata"]["resourceVersion"]
            first = await b.ok("GET", MAPS, limit="1")
            token = first["metadata"]["continue"]
            exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
            await b.clock.advance(HORIZON_EVERY + 1)
            await made(b, "d")
            second = await b.ok("GET", MAPS, limit="1", **{"continue": token})
            assert [i["metadata"]["name"] for i in second["items"]] == ["b"]
            assert len((await b.ok("GET", MAPS, **exact))["items"]) == 3

            await b.clock.advance(2 * HORIZON_EVERY)  # the first one ends at the token's own revision, which stays
            for query in ({"continue": token, "limit": "1"}, exact):
                refused = await b.refused("GET", MAPS, **query)
                assert (refused["code"], refused["reason"]) == (410, "Expired")
            refused = await b.refused("GET", MAPS, **{"continue": token})
            rest = await b.ok("GET", MAPS, **{"continue": refused["metadata"]["continue"]})
            assert [i["metadata"]["name"] for i in rest["items"]] == ["b", "c", "d"], "as things are now"
            assert (await b.store.list("", revision=int(version))).entries, "the store remembers"
            await upkeep.stop()

    run(scenario())
