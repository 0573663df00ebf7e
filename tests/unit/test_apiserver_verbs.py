"""The generic verbs over a memory store: what is kept, refused, and told to watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

from tests.fakes.machine import Bench, bench

from groundplane.client.contract import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH, ApiError, WatchEvent

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def config(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}}


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "x"}]
    return {
        "metadata": {"name": name},
        "spec": {"containers": containers, "automountServiceAccountToken": False, **spec},
    }


async def events(b: Bench, path: str, count: int, **query: str) -> list[tuple[str, str]]:
    """The next `count` events as (type, name)."""
    found: list[tuple[str, str]] = []
    stream: AsyncIterator[WatchEvent] = b.transport.watch(path, query)
    async with aclosing(stream):  # type: ignore[type-var]
        async for event in stream:
            found.append((event.type, event.object["metadata"].get("name", "")))
            if len(found) == count:
                break
    return found


def test_an_unchanged_update_writes_nothing() -> None:
    async def work() -> None:
        async with bench() as b:
            made = await b.ok("POST", MAPS, config("a"))
            before = b.store.revision
            again = await b.ok("PUT", f"{MAPS}/a", made)
            assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
            assert b.store.revision == before

    run(work())


def test_writes_that_race_are_all_kept() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", MAPS, config("a"))
            patches = [{"data": {f"k{i}": str(i)}} for i in range(20)]
            await asyncio.gather(*(b.ok("PATCH", f"{MAPS}/a", p, MERGE_PATCH) for p in patches))
            data = (await b.ok("GET", f"{MAPS}/a"))["data"]
            assert {f"k{i}" for i in range(20)} <= set(data)

    run(work())


def test_a_stored_object_is_never_changed_in_place() -> None:
    async def work() -> None:
        async with bench() as b:
            first = await b.ok("POST", MAPS, config("a", x="1"))
            kept = repr(first)
            await b.ok("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"x": "2"}}, "data": {"k": "w"}}, MERGE_PATCH)
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"z": "1"}}
            await b.ok("PATCH", f"{MAPS}/a", body, APPLY_PATCH, fieldManager="me")
            assert repr(first) == kept
            refused = await b.refused("PATCH", f"{MAPS}/a", {**body, "datta": {}}, APPLY_PATCH, fieldManager="me")
            assert refused["message"] == (
                "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .datta: field not declared in schema"
            )

    run(work())


def test_pages_show_one_moment() -> None:
    async def work() -> None:
        async with bench() as b:
            for name in "abcde":
                await b.ok("POST", MAPS, config(name))
            first = await b.ok("GET", MAPS, limit="2")
            await b.ok("POST", MAPS, config("bb"))
            await b.ok("DELETE", f"{MAPS}/d")
            rest = await b.ok("GET", MAPS, limit="10", **{"continue": first["metadata"]["continue"]})
            names = [i["metadata"]["name"] for i in [*first["items"], *rest["items"]]]
            assert names == list("abcde")
            assert first["metadata"]["remainingItemCount"] == 3
            assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            exact = await b.ok(
                "GET", MAPS, resourceVersion=first["metadata"]["resourceVersion"], resourceVersionMatch="Exact"
            )
            assert [i["metadata"]["name"] for i in exact["items"]] == list("abcde")

    run(work())


def test_a_page_whose_history_is_gone() -> None:
    async def work() -> None:
        async with bench() as b:
            for name in "abc":
                await b.ok("POST", MAPS, config(name))
            first = await b.ok("GET", MAPS, limit="1")
            await b.ok("POST", MAPS, config("d"))
            await b.store.compact(b.store.revision)
            gone = await b.refused("GET", MAPS, limit="1", **{"continue": first["metadata"]["continue"]})
            assert (gone["code"], gone["reason"]) == (410, "Expired")
            inconsistent = await b.ok("GET", MAPS, **{"continue": gone["metadata"]["continue"]})
            assert [i["metadata"]["name"] for i in inconsistent["items"]] == list("bcd")

    run(work())


def test_a_watch_with_a_selector_sees_objects_come_and_go() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", MAPS, config("a", on="1"))
            since = (await b.ok("GET", MAPS))["metadata"]["resourceVersion"]
            await b.ok("POST", MAPS, config("b"))
            await b.ok("PATCH", f"{MAPS}/b", {"metadata": {"labels": {"on": "1"}}}, MERGE_PATCH)
            await b.ok("PATCH", f"{MAPS}/a", {"data": {"k": "2"}}, MERGE_PATCH)
            await b.ok("PATCH", f"{MAPS}/a", {"metadata": {"labels": None}}, MERGE_PATCH)
            await b.ok("DELETE", f"{MAPS}/b")
            seen = await events(b, MAPS, 4, resourceVersion=since, labelSelector="on=1")
            assert seen == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]

    run(work())


def test_watches_from_the_start_and_streamed_lists() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", MAPS, config("a"))
            assert await events(b, MAPS, 1) == [("ADDED", "a")]
            streamed = await events(
                b, MAPS, 2, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
            )
            assert streamed == [("ADDED", "a"), ("BOOKMARK", "")]

    run(work())


def test_a_watch_from_before_the_history() -> None:
    async def work() -> None:
        async with bench() as b, bench(b.store) as late:  # the second server's history begins now
            stream = late.transport.watch(MAPS, {"resourceVersion": "1"})
            async with aclosing(stream):
                event = await anext(stream)
            assert event.type == "ERROR"
            assert (event.object["code"], event.object["reason"]) == (410, "Expired")

    run(work())


def test_a_watch_from_a_version_that_is_still_to_come() -> None:
    async def work() -> None:
        async with bench() as b:
            future = str(b.machine.cache.revision + 2)
            watching = asyncio.ensure_future(events(b, MAPS, 1, resourceVersion=future))
            await asyncio.sleep(0)
            for name in "abc":
                await b.ok("POST", MAPS, config(name))
            assert await watching == [("ADDED", "c")]

    run(work())


def test_a_bookmark_comes_behind_the_events_that_it_speaks_of() -> None:
    """Who resumes at a bookmark never hears of what came before it."""

    async def work() -> None:
        async with bench() as b:
            made = await b.ok("POST", MAPS, config("a"))
            cache = b.machine.cache
            await cache._tasks.stop()  # nothing comes from the store but by a drain
            stored = cache.collection("/registry/configmaps/").get("/registry/configmaps/default/a")
            assert stored is not None
            query = {"resourceVersion": made["metadata"]["resourceVersion"], "timeoutSeconds": "1"}
            watching = asyncio.ensure_future(events(b, MAPS, 2, **query, allowWatchBookmarks="true"))
            await asyncio.sleep(0)
            await b.store.create("/registry/configmaps/default/b", stored.raw.replace(b'"name":"a"', b'"name":"b"'))
            assert await watching == [("ADDED", "b"), ("BOOKMARK", "")]

    run(work())


def test_a_pod_is_stamped_and_waits_for_its_node() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", PODS, pod(nodeName="n"))
            going = await b.ok("DELETE", f"{PODS}/p")
            assert going["metadata"]["deletionGracePeriodSeconds"] == 30
            await b.ok("DELETE", f"{PODS}/p", gracePeriodSeconds="60")  # never longer
            assert (await b.ok("GET", f"{PODS}/p"))["metadata"]["deletionGracePeriodSeconds"] == 30
            await b.ok("DELETE", f"{PODS}/p", gracePeriodSeconds="0")
            assert (await b.refused("GET", f"{PODS}/p"))["reason"] == "NotFound"

    run(work())


def test_a_bound_pod_is_nominated_no_more() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", PODS, pod())
            await b.ok("PATCH", f"{PODS}/p/status", {"status": {"nominatedNodeName": "n"}}, MERGE_PATCH)
            binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "m"}}
            await b.ok("POST", f"{PODS}/p/binding", binding)
            bound = await b.ok("GET", f"{PODS}/p")
            assert bound["spec"]["nodeName"] == "m" and "nominatedNodeName" not in bound["status"]

    run(work())


def test_a_negative_grace_period_is_one_second() -> None:
    """Never at once: only 0 says so (rest.BeforeDelete)."""

    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", PODS, pod(nodeName="n"))
            await b.ok("DELETE", f"{PODS}/p")
            await b.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": -5})
            assert (await b.ok("GET", f"{PODS}/p"))["metadata"]["deletionGracePeriodSeconds"] == 1

    run(work())


def test_finalizers_hold_and_release() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", MAPS, {"metadata": {"name": "f", "finalizers": ["x.example/f"]}})
            await b.ok("DELETE", f"{MAPS}/f", propagationPolicy="Orphan")
            held = await b.ok("GET", f"{MAPS}/f")
            assert held["metadata"]["finalizers"] == ["x.example/f", "orphan"]
            added = {"metadata": {"finalizers": ["x.example/f", "y.example/g"]}}
            assert (await b.refused("PATCH", f"{MAPS}/f", added, MERGE_PATCH))["code"] == 422
            await b.ok("PATCH", f"{MAPS}/f", {"metadata": {"finalizers": None}}, MERGE_PATCH)
            assert (await b.refused("GET", f"{MAPS}/f"))["code"] == 404

    run(work())


def test_a_refused_watch_raises() -> None:
    async def work() -> None:
        async with bench() as b:
            stream = b.transport.watch(MAPS, {"labelSelector": "a b"})
            try:
                await anext(stream)
            except ApiError as error:
                assert error.code == 400
            else:
                raise AssertionError("a selector that does not parse was accepted")

    run(work())


def test_a_generated_name_and_a_dry_run() -> None:
    async def work() -> None:
        async with bench() as b:
            made = await b.ok("POST", MAPS, {"metadata": {"generateName": "g-"}})
            assert made["metadata"]["name"].startswith("g-") and len(made["metadata"]["name"]) == 7
            before = b.store.revision
            await b.ok("POST", MAPS, config("dry"), dryRun="All")
            await b.ok("DELETE", f"{MAPS}/{made['metadata']['name']}", dryRun="All")
            assert b.store.revision == before

    run(work())


def test_one_event_seen_in_two_groups() -> None:
    async def work() -> None:
        async with bench() as b:
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            old = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "message": "M", "type": "Normal"}
            await b.ok("POST", "/api/v1/namespaces/default/events", old)
            new = await b.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
            assert (new["apiVersion"], new["regarding"]["name"], new["note"]) == ("events.k8s.io/v1", "p", "M")
            listed = await b.ok("GET", "/apis/events.k8s.io/v1/events")
            assert listed["items"][0]["note"] == "M"

    run(work())


def test_across_namespaces_there_is_only_looking() -> None:
    async def work() -> None:
        async with bench() as b:
            assert (await b.ok("GET", "/api/v1/configmaps"))["kind"] == "ConfigMapList"
            for method, path in (("POST", "/api/v1/configmaps"), ("DELETE", "/api/v1/configmaps"), ("PUT", MAPS)):
                assert (await b.refused(method, path, config("a")))["reason"] == "MethodNotAllowed"

    run(work())


def test_a_deletion_at_once_wins_every_race() -> None:
    async def work() -> None:
        async with bench() as b:
            for _ in range(20):
                await b.ok("POST", PODS, pod(nodeName="n"))
                status = {"status": {"phase": "Running"}}
                writes = [b.call("PATCH", f"{PODS}/p/status", status, MERGE_PATCH) for _ in range(5)]
                await asyncio.gather(b.ok("DELETE", f"{PODS}/p", gracePeriodSeconds="0"), *writes)
                assert (await b.refused("GET", f"{PODS}/p"))["code"] == 404

    run(work())


def test_what_is_not_offered_is_refused_in_a_sentence() -> None:
    async def work() -> None:
        async with bench() as b:
            for path in (f"{PODS}/p/proxy/x", "/api/v1/namespaces/default/services/s/proxy", "/api/v1/nodes/n/proxy"):
                for method in ("GET", "POST", "DELETE"):
                    answer = await b.call(method, path)
                    assert answer.status == 500
                    assert answer.body["message"].endswith("/proxy is not offered by this server yet")

    run(work())


def test_events_in_their_newer_group() -> None:
    """Its own fields to select by and its own rules, though core's form is what is stored."""
    path, core = "/apis/events.k8s.io/v1/namespaces/default/events", "/api/v1/namespaces/default/events"
    event: dict[str, Any] = {
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "a.test/c",
        "reportingInstance": "c-1",
        "action": "Do",
        "reason": "Tested",
        "type": "Normal",
        "note": "This is e",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }

    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", path, event)
            await b.ok("POST", core, {"metadata": {"name": "old"}, "involvedObject": {"namespace": "default"}})
            for where, selector in (
                (path, "reportingController=a.test/c"),
                (path, "regarding.name=p,regarding.kind=Pod,type=Normal,reason=Tested"),
                (core, "source=a.test/c"),
                (core, "reportingComponent=a.test/c,involvedObject.name=p"),
            ):
                found = await b.ok("GET", where, fieldSelector=selector)
                assert [o["metadata"]["name"] for o in found["items"]] == ["e"], selector
            assert (await b.refused("GET", path, fieldSelector="source=x"))["code"] == 400

            old = {**event, "metadata": {"name": "o"}, "eventTime": None, "type": "Odd", "deprecatedCount": 2}
            refused = await b.refused("POST", path, old)
            causes = {(c["field"], c["message"]) for c in refused["details"]["causes"]}
            assert causes == {
                ("eventTime", "Required value"),
                ("type", 'Invalid value: "": has invalid value: Odd'),
                ("count", 'Invalid value: "": needs to be unset'),
            }
            empty = {"metadata": {"name": "x"}, "eventTime": event["eventTime"], "involvedObject": {}}
            refused = await b.refused("POST", core, empty)
            fields = [c["field"] for c in refused["details"]["causes"]]
            assert fields[:1] == ["reportingComponent"] and {"reportingInstance", "action", "reason"} <= {*fields}

            series = {"count": 100, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
            patched = await b.ok("PATCH", f"{path}/e", {"series": series}, MERGE_PATCH)
            assert patched["series"] == series
            other = {"series": {"count": 1}, "note": "other"}
            refused = await b.refused("PATCH", f"{path}/e", other, MERGE_PATCH)
            fields = [c["field"] for c in refused["details"]["causes"]]
            assert fields == ["series.count", "message"]

    run(work())


def test_only_known_resources_are_counted() -> None:
    async def work() -> None:
        async with bench() as b:
            for method, path in (("GET", '/api/v1/a"} 1'), ("BREW", "/coffee"), ("GET", "/apis/x/v1/namespaces/d/y/z")):
                await b.refused(method, path)
            await b.ok("GET", PODS)
            counted = {(verb, resource) for verb, resource, _ in b.machine.counts}
            assert ("list", "pods") in counted
            assert {resource for _, resource in counted} <= {"", "pods", "namespaces", "serviceaccounts"}
            assert {verb for verb, resource in counted if not resource} == {""}

    run(work())


def test_a_certificate_request_says_who_made_it() -> None:
    """A signer decides by it."""
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

    async def work() -> None:
        async with bench() as b:
            claim = {"username": "system:node:a", "groups": ["system:masters"], "uid": "x", "extra": {"a": ["b"]}}
            spec = {"request": "aGFsbG8=", "signerName": "example.com/x", "usages": ["client auth"], **claim}
            made = await b.ok("POST", path, {"metadata": {"name": "r"}, "spec": spec})
            assert (made["spec"]["username"], made["spec"]["groups"]) == ("admin", ["system:masters"])
            assert "uid" not in made["spec"] and "extra" not in made["spec"]
            other = {"spec": {"username": "root", "signerName": "example.com/y"}, "metadata": {"labels": {"a": "b"}}}
            changed = await b.ok("PATCH", f"{path}/r", other, MERGE_PATCH)
            assert changed["spec"] == made["spec"] and changed["metadata"]["labels"] == {"a": "b"}

    run(work())


def test_windows_of_a_pod_let_nothing_invalid_through() -> None:
    async def work() -> None:
        async with bench() as b:
            small = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
            containers = [{"name": "c", "image": "x", "resources": small}]
            await b.ok("POST", PODS, pod(containers=containers))

            async def refused(window: str, spec: dict[str, Any]) -> str:
                found = await b.refused("PATCH", f"{PODS}/p/{window}", {"spec": spec}, STRATEGIC_PATCH)
                assert found["code"] == 422
                return str(found["message"])

            for resources, said in (
                ({"requests": {"cpu": "-1"}}, "spec.containers[0].resources.requests[cpu]"),
                ({"requests": {"cpu": "3"}}, "must be less than or equal to cpu limit"),
                ({"requests": {"cpu": "2", "memory": "2Gi"}}, "Pod QOS Class may not change as a result of resizing"),
            ):
                assert said in await refused("resize", {"containers": [{"name": "c", "resources": resources}]})
            for debugger in ({"name": "c", "image": "x"}, {"name": "Bad_", "image": "x"}, {"name": "d"}):
                assert "spec.ephemeralContainers[0]" in await refused(
                    "ephemeralcontainers", {"ephemeralContainers": [debugger]}
                )
            good = {"ephemeralContainers": [{"name": "d", "image": "x"}]}
            await b.ok("PATCH", f"{PODS}/p/ephemeralcontainers", {"spec": good}, STRATEGIC_PATCH)
            more = {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}}]}
            await b.ok("PATCH", f"{PODS}/p/resize", {"spec": more}, STRATEGIC_PATCH)

    run(work())


def test_a_deletion_that_is_asked_for_again_with_another_policy() -> None:
    """What waits for its dependents goes at once when it is asked to; so do objects of a namespace that is emptied."""

    async def work() -> None:
        async with bench() as b:
            for name in ("a", "b"):
                made = config(name)
                await b.ok(
                    "POST", MAPS, {**made, "metadata": {**made["metadata"], "finalizers": ["x/y"][: name == "b"]}}
                )
                waits = await b.ok("DELETE", f"{MAPS}/{name}", {"propagationPolicy": "Foreground"})
                assert "foregroundDeletion" in waits["metadata"]["finalizers"]
                again = await b.ok("DELETE", f"{MAPS}/{name}")
                assert again["metadata"] == waits["metadata"], "no policy: it stays as it was"
            gone = await b.ok("DELETE", f"{MAPS}/a", {"propagationPolicy": "Background"})
            assert gone["status"] == "Success"
            assert (await b.refused("GET", f"{MAPS}/a"))["code"] == 404
            kept = await b.ok("DELETE", f"{MAPS}/b", {"propagationPolicy": "Orphan"})
            assert kept["metadata"]["finalizers"] == ["x/y", "orphan"]
            assert kept["metadata"]["deletionTimestamp"] == waits["metadata"]["deletionTimestamp"]

    run(work())


def test_an_applied_configuration_without_real_metadata() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", MAPS, config("a"))
            for name in ("a", "b"):
                for metadata in ("x", 5, [], False):
                    sent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
                    refused = await b.refused("PATCH", f"{MAPS}/{name}", sent, APPLY_PATCH, fieldManager="f")
                    assert ".metadata: expected map, got" in refused["message"]
                for kind, version in (({}, "v1"), ("ConfigMap", {}), ("", 7), (["a"], ["b"])):
                    sent = {"apiVersion": version, "kind": kind}
                    refused = await b.refused("PATCH", f"{MAPS}/{name}", sent, APPLY_PATCH, fieldManager="f")
                    assert refused["code"] == 400

    run(work())
