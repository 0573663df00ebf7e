"""What every `client.contract.Transport` must do; run by the in-process one, the one over TLS, and the fake.

A driver gives `make()`: an async context manager that yields a Client of an empty cluster with a namespace `default`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from groundplane.client.client import Client
from groundplane.client.contract import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, ApiError, Object, WatchEvent
from groundplane.client.objects import replace_in

Make = Callable[[], AbstractAsyncContextManager[Client]]


def config_map(name: str, **labels: str) -> Object:
    metadata: Object = {"name": name, "namespace": "default"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


async def refused(call: Any) -> ApiError:
    """The error of a call that must fail."""
    try:
        await call
    except ApiError as error:
        return error
    raise AssertionError("the call was not refused")


async def check_verbs(make: Make) -> None:
    async with make() as client:
        maps = client.config_maps
        made = await maps.create(config_map("one"))
        assert made["metadata"]["uid"] and made["metadata"]["resourceVersion"]
        assert (await refused(maps.create(config_map("one")))).is_already_exists
        assert (await maps.get("one", "default"))["data"] == {"a": "1"}
        changed = await maps.update(replace_in(made, ("data", "a"), "2"))
        assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        stale = await refused(maps.update(replace_in(made, ("data", "a"), "3")))
        assert stale.is_conflict
        assert "the object has been modified; please apply your changes to the latest version" in str(stale)
        assert (await maps.patch("one", {"data": {"b": "3"}}, "default", type=MERGE_PATCH))["data"] == {
            "a": "2",
            "b": "3",
        }
        steps = [{"op": "remove", "path": "/data/b"}]
        assert (await maps.patch("one", steps, "default", type=JSON_PATCH))["data"] == {"a": "2"}
        wrong = await refused(maps.delete("one", "default", uid="another"))
        assert wrong.code == 409
        await maps.delete("one", "default", uid=made["metadata"]["uid"])
        gone = await refused(maps.get("one", "default"))
        assert gone.is_not_found
        assert str(gone) == 'configmaps "one" not found'


async def check_owner_references_are_patched_one_by_one(make: Make) -> None:
    async with make() as client:
        one, two = ({"apiVersion": "v1", "kind": "ConfigMap", "name": n, "uid": f"uid-{n}"} for n in ("x", "y"))
        made = await client.config_maps.create(config_map("child"))
        for reference in (one, two):
            body = {"metadata": {"uid": made["metadata"]["uid"], "ownerReferences": [reference]}}
            made = await client.config_maps.patch("child", body, "default", type=STRATEGIC_PATCH)
        assert sorted(ref["uid"] for ref in made["metadata"]["ownerReferences"]) == ["uid-x", "uid-y"]
        body = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "uid-x"}]}}
        made = await client.config_maps.patch("child", body, "default", type=STRATEGIC_PATCH)
        assert [ref["uid"] for ref in made["metadata"]["ownerReferences"]] == ["uid-y"]


async def check_lists(make: Make) -> None:
    async with make() as client:
        for number in range(5):
            await client.config_maps.create(config_map(f"m{number}", even=str(number % 2 == 0).lower()))
        everything, revision = await client.config_maps.list_all("default", page=2)
        mine = [o["metadata"]["name"] for o in everything if o["metadata"]["name"].startswith("m")]
        assert mine == ["m0", "m1", "m2", "m3", "m4"]
        assert int(revision) > 0
        even, _ = await client.config_maps.list_all("default", label_selector="even=true")
        assert [o["metadata"]["name"] for o in even] == ["m0", "m2", "m4"]
        one, _ = await client.config_maps.list_all("default", field_selector="metadata.name=m3")
        assert [o["metadata"]["name"] for o in one] == ["m3"]


async def check_watch(make: Make) -> None:
    async with make() as client:
        first = await client.config_maps.create(config_map("first", app="a"))
        _, revision = await client.config_maps.list_all("default")
        watching = client.config_maps.watch("default", resource_version=revision, label_selector="app=a")
        async with aclosing(watching) as events:
            await client.config_maps.create(config_map("other", app="b"))
            await client.config_maps.create(config_map("second", app="a"))
            await client.config_maps.update(replace_in(first, ("data", "a"), "2"))
            second = await client.config_maps.get("second", "default")
            await client.config_maps.update(replace_in(second, ("metadata", "labels"), {"app": "b"}))
            await client.config_maps.delete("first", "default")
            told = []
            async for event in events:
                if event.type != "BOOKMARK":
                    told.append((event.type, event.object["metadata"]["name"]))
                if len(told) == 4:
                    break
        assert told == [("ADDED", "second"), ("MODIFIED", "first"), ("DELETED", "second"), ("DELETED", "first")]


async def check_a_closed_watch_ends(make: Make) -> None:
    async with make() as client:
        watching = client.config_maps.watch("default")
        waiting = asyncio.ensure_future(_first_named(watching, "nobody"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await watching.aclose()
        assert (await client.config_maps.create(config_map("after")))["metadata"]["name"] == "after"


async def check_status_and_binding(make: Make) -> None:
    async with make() as client:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "web"}], "automountServiceAccountToken": False},
        }
        pod = await client.pods.create(body)
        assert not pod["spec"].get("nodeName")
        target = {"apiVersion": "v1", "kind": "Node", "name": "n"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": target}
        await client.pods.create(binding, "default", name="p", subresource="binding")
        assert (await client.pods.get("p", "default"))["spec"]["nodeName"] == "n"
        again = await refused(client.pods.create(binding, "default", name="p", subresource="binding"))
        assert again.code == 409
        ready = {"type": "Ready", "status": "True"}
        patch = {"status": {"phase": "Running", "conditions": [ready]}}
        await client.pods.patch("p", patch, "default", type=STRATEGIC_PATCH, subresource="status")
        status = (await client.pods.get("p", "default"))["status"]
        assert status["phase"] == "Running"
        assert {"PodScheduled", "Ready"} <= {c["type"] for c in status["conditions"]}
        await client.pods.delete("p", "default", grace_period=0)
        assert (await refused(client.pods.get("p", "default"))).is_not_found


async def _first_named(events: Any, name: str) -> WatchEvent:
    async for event in events:
        if event.object["metadata"].get("name") == name:
            return event  # type: ignore[no-any-return]
    raise AssertionError("the watch ended")


CHECKS = (
    check_verbs,
    check_owner_references_are_patched_one_by_one,
    check_lists,
    check_watch,
    check_a_closed_watch_ends,
    check_status_and_binding,
)
