"""Events, leader election, kubeconfig, ownership, object builders, discovery."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

from groundplane.client import kubeconfig
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object, Request, Response
from groundplane.client.discovery import collectable, discover
from groundplane.client.events import NORMAL, WARNING, Recorder
from groundplane.client.leader import Leader, LeaseWords
from groundplane.client.objects import condition, replace_in, set_condition, with_annotations
from groundplane.client.ownership import Claims, sort_out

ABOUT = {"kind": "Pod", "namespace": "default", "name": "web", "uid": "u", "apiVersion": "v1"}

# -- events -----------------------------------------------------------------------------------------------------------


def test_equal_events_are_counted_and_similar_ones_combined(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        recorder = Recorder(Client(cluster), clock, "kubelet", "n1")
        for _ in range(3):
            recorder.event(ABOUT, NORMAL, "Pulled", "Image is there")
            await clock.advance(1)
        (event,) = cluster.objects("events")
        assert (event["count"], event["message"]) == (3, "Image is there")
        assert event["firstTimestamp"] < event["lastTimestamp"]
        assert event["source"] == {"component": "kubelet", "host": "n1"}
        assert event["metadata"]["name"].startswith("web.")
        assert len(event["metadata"]["name"]) == len("web.") + 16
        for number in range(12):
            recorder.event(ABOUT, WARNING, "BackOff", f"failed {number}")
            await clock.advance(1)
        messages = [e["message"] for e in cluster.objects("events") if e["reason"] == "BackOff"]
        assert len(messages) == 10
        assert messages[-1] == "(combined from similar events): failed 11"
        await recorder.stop()

    run(work())


def test_a_chatty_source_is_limited_to_25_and_one_in_five_minutes(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        recorder = Recorder(Client(cluster), clock, "kubelet", "n1")
        for number in range(40):
            recorder.event(ABOUT, NORMAL, f"R{number}", "x")
        await clock.advance(1)
        assert len(cluster.objects("events")) == 25
        await clock.advance(301)
        recorder.event(ABOUT, NORMAL, "Later", "x")
        await clock.advance(1)
        assert len(cluster.objects("events")) == 26
        await recorder.stop()

    run(work())


def test_an_event_with_an_action_becomes_a_series(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        recorder = Recorder(Client(cluster), clock, "default-scheduler")
        for _ in range(5):
            recorder.event(ABOUT, WARNING, "FailedScheduling", "0/1 nodes", action="Scheduling")
            await clock.advance(10)
        (event,) = cluster.objects("events")
        assert event["series"]["count"] == 2  # the third to fifth are only counted, until six minutes have passed
        assert "count" not in event
        recorder.event(ABOUT, WARNING, "FailedScheduling", "0/1 nodes", action="Scheduling")
        await clock.advance(355)
        recorder.event(ABOUT, WARNING, "FailedScheduling", "0/1 nodes", action="Scheduling")
        await clock.advance(1)
        assert cluster.objects("events")[0]["series"]["count"] == 7
        await recorder.stop()

    run(work())


def test_an_event_waits_for_a_server_that_is_away(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        away = True

        class Flaky(FakeCluster):
            async def send(self, request: Request) -> Response:
                if away:
                    raise ConnectionLost("away")
                return await cluster.send(request)

        recorder = Recorder(Client(Flaky(clock)), clock, "kubelet")
        recorder.event(ABOUT, NORMAL, "Started", "x")
        await clock.advance(25)
        assert cluster.objects("events") == []
        away = False
        await clock.advance(10)
        assert len(cluster.objects("events")) == 1
        await recorder.stop()

    run(work())


# -- leader election --------------------------------------------------------------------------------------------------


def test_only_one_leads_and_another_takes_over(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        leading: set[str] = set()
        most = 0

        def candidate(name: str) -> asyncio.Task[None]:
            async def lead() -> None:
                nonlocal most
                leading.add(name)
                most = max(most, len(leading))
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    leading.discard(name)

            return asyncio.ensure_future(Leader(Client(cluster), clock, LeaseWords("x", name)).run(lead))

        one = candidate("one")
        await clock.advance(1)
        two = candidate("two")
        await clock.advance(60)
        assert leading == {"one"}
        one.cancel()  # killed: nobody releases the lease
        await asyncio.gather(one, return_exceptions=True)
        await clock.advance(10)
        assert leading == set()
        await clock.advance(10)
        assert leading == {"two"}
        assert most == 1
        (lease,) = cluster.objects("leases")
        assert lease["spec"]["holderIdentity"] == "two"
        assert lease["spec"]["leaseTransitions"] == 1
        two.cancel()
        await asyncio.gather(two, return_exceptions=True)

    run(work())


@pytest.mark.parametrize("silent", [False, True])
def test_a_leader_that_cannot_renew_stops_before_another_may_start(run, silent: bool) -> None:
    async def work() -> None:
        clock = VirtualClock()
        cluster = FakeCluster(clock)
        stopped_at = 0.0

        async def lead() -> None:
            nonlocal stopped_at
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                stopped_at = clock.monotonic()

        task = asyncio.ensure_future(Leader(Client(cluster), clock, LeaseWords("x", "one")).run(lead))
        await clock.advance(20)
        if silent:
            cluster.send = lambda _: asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        else:
            away = {"kind": "Status", "code": 500, "message": "away"}
            cluster.refuse = lambda _: ApiError(away)
        await clock.advance(20)
        assert task.done()
        assert 28 <= stopped_at <= 33

    run(work())


# -- kubeconfig -------------------------------------------------------------------------------------------------------


def test_a_kubeconfig_that_was_saved_can_be_loaded(state_root: Path) -> None:
    path = str(state_root / "config")
    access = kubeconfig.Access("https://h:6443", b"ca", b"cert", b"key", namespace="shop")
    kubeconfig.save(path, access)
    assert kubeconfig.load(path) == access
    assert (state_root / "config").stat().st_mode & 0o777 == 0o600


def test_files_beside_a_kubeconfig_and_what_is_refused(state_root: Path) -> None:
    (state_root / "ca.pem").write_bytes(b"CA")
    (state_root / "config").write_text(
        "current-context: a\n"
        "clusters: [{name: c, cluster: {server: https://h:1/, certificate-authority: ca.pem}}]\n"
        "users: [{name: u, user: {token: t}}, {name: e, user: {exec: {command: x}}}]\n"
        "contexts: [{name: a, context: {cluster: c, user: u}}, {name: b, context: {cluster: c, user: e}}]\n"
    )
    path = str(state_root / "config")
    access = kubeconfig.load(path)
    assert (access.server, access.ca, access.token, access.namespace) == ("https://h:1", b"CA", "t", "default")
    with pytest.raises(kubeconfig.KubeconfigError, match="exec is not supported"):
        kubeconfig.load(path, "b")
    with pytest.raises(kubeconfig.KubeconfigError, match="context 'nope' is not in it"):
        kubeconfig.load(path, "nope")
    bad = kubeconfig.document(access)
    bad["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"x").decode() + "!"
    (state_root / "bad").write_text(str(bad).replace("'", '"'))
    with pytest.raises(kubeconfig.KubeconfigError, match="not base64"):
        kubeconfig.load(str(state_root / "bad"))
    with pytest.raises(kubeconfig.KubeconfigError) as raised:
        kubeconfig.load("/nope/config")
    assert str(raised.value) == "kubeconfig /nope/config: No such file or directory"


def test_a_pod_finds_its_cluster(state_root: Path) -> None:
    (state_root / "ca.crt").write_bytes(b"CA")
    (state_root / "namespace").write_text("shop\n")
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = kubeconfig.in_cluster(env, str(state_root))
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "shop")
    with pytest.raises(kubeconfig.KubeconfigError, match="not in a cluster"):
        kubeconfig.in_cluster({}, str(state_root))


# -- ownership --------------------------------------------------------------------------------------------------------


def thing(
    name: str, owner: str = "", *, app: str = "web", deleting: bool = False, namespace: str = "default"
) -> Object:
    meta: Object = {"name": name, "namespace": namespace, "uid": f"u-{name}", "labels": {"app": app}}
    if owner:
        meta["ownerReferences"] = [{"uid": owner, "controller": True, "kind": "ReplicaSet", "name": "rs"}]
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


def is_web(obj: Object) -> bool:
    return bool(obj["metadata"]["labels"]["app"] == "web")


SORTING = [
    ("mine and matching", thing("p", "rs"), "owned"),
    ("mine, no longer matching", thing("p", "rs", app="db"), "release"),
    ("somebody else's", thing("p", "other"), ""),
    ("nobody's and matching", thing("p"), "adopt"),
    ("nobody's, not matching", thing("p", app="db"), ""),
    ("nobody's, being deleted", thing("p", deleting=True), ""),
    ("nobody's, in another namespace", thing("p", namespace="else"), ""),
]


@pytest.mark.parametrize(("what", "candidate", "where"), SORTING, ids=[s[0] for s in SORTING])
def test_what_a_controller_does_with_a_candidate(what: str, candidate: Object, where: str) -> None:
    owner = {"metadata": {"name": "rs", "namespace": "default", "uid": "rs"}}
    found = sort_out(owner, is_web, [candidate])
    assert [word for word in ("owned", "adopt", "release") if getattr(found, word)] == ([where] if where else [])
    ending = replace_in(owner, ("metadata", "deletionTimestamp"), "now")
    found = sort_out(ending, is_web, [candidate])
    assert not found.adopt
    assert not found.release


def test_adoption_asks_the_server_whether_the_owner_lives(run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        client = Client(FakeCluster(clock))
        owner = await client.replica_sets.create({"metadata": {"name": "rs", "namespace": "default"}})
        pod = await client.pods.create(thing("p"))
        claims = Claims(client.replica_sets, client.pods)
        old = replace_in(owner, ("metadata", "uid"), "an older one of that name")
        with pytest.raises(ApiError, match="original ReplicaSet default/rs is gone"):
            await claims.claim(old, is_web, [pod])
        (adopted,) = await claims.claim(owner, is_web, [pod])
        assert adopted["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
        changed = await client.pods.update(replace_in(adopted, ("metadata", "labels"), {"app": "db"}))
        assert await claims.claim(owner, is_web, [changed]) == []
        assert (await client.pods.get("p", "default"))["metadata"]["ownerReferences"] == []

    run(work())


# -- objects ----------------------------------------------------------------------------------------------------------


def test_builders_share_what_they_do_not_change() -> None:
    pod: Object = {"metadata": {"name": "p", "annotations": {"a": "1"}}, "spec": {"containers": []}}
    new = replace_in(pod, ("metadata", "labels"), {"x": "y"})
    assert new["spec"] is pod["spec"]
    assert "labels" not in pod["metadata"]
    assert replace_in(new, ("metadata", "labels"), None)["metadata"] == pod["metadata"]
    assert with_annotations(pod, {"a": None, "b": "2"})["metadata"]["annotations"] == {"b": "2"}


def test_a_condition_keeps_its_moment_while_its_status_stays() -> None:
    first = set_condition([], condition("Ready", "True", "A", now=0))
    same = set_condition(first, condition("Ready", "True", "B", now=60))
    assert same[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert same[0]["reason"] == "B"
    other = set_condition(same, condition("Ready", "False", now=60))
    assert other[0]["lastTransitionTime"] != first[0]["lastTransitionTime"]


# -- discovery --------------------------------------------------------------------------------------------------------


class Pages(FakeCluster):
    """Answers GET of fixed paths."""

    def __init__(self, pages: dict[str, Any]) -> None:
        super().__init__(VirtualClock())
        self._pages = pages

    async def send(self, request: Request) -> Response:
        return Response(200, self._pages[request.path])


def test_discovery_of_new_and_old_servers(run) -> None:
    verbs = ["get", "list", "watch", "delete"]

    def version(name: str, *kinds: tuple[str, str, list[str]]) -> Object:
        found = [{"resource": p, "responseKind": {"kind": k}, "scope": "Namespaced", "verbs": v} for p, k, v in kinds]
        return {"version": name, "resources": found}

    async def work() -> None:
        core = version("v1", ("pods", "Pod", verbs), ("bindings", "Binding", ["create"]))
        scaling = [version("v2", ("hpas", "HPA", verbs)), version("v1", ("hpas", "HPA", verbs))]
        new = Pages(
            {
                "/api": {"kind": "APIGroupDiscoveryList", "items": [{"metadata": {}, "versions": [core]}]},
                "/apis": {
                    "kind": "APIGroupDiscoveryList",
                    "items": [{"metadata": {"name": "autoscaling"}, "versions": scaling}],
                },
            }
        )
        found = collectable(await discover(Client(new)))
        assert [(r.group, r.version, r.plural, r.kind) for r in found] == [
            ("", "v1", "pods", "Pod"),
            ("autoscaling", "v2", "hpas", "HPA"),
        ]
        pods = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": verbs}
        status = {"name": "pods/status", "kind": "Pod", "namespaced": True, "verbs": ["get"]}
        old = Pages(
            {
                "/api": {"kind": "APIVersions", "versions": ["v1"]},
                "/api/v1": {"kind": "APIResourceList", "resources": [pods, status]},
                "/apis": {"kind": "APIGroupList", "groups": []},
            }
        )
        assert [r.plural for r in collectable(await discover(Client(old)))] == ["pods"]

    run(work())
