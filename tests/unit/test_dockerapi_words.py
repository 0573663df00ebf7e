"""Docker's documents to the engine's values and back, without an engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from tests.fakes.clock import VirtualClock

from groundplane.base.jsonyaml import loads
from groundplane.dockerapi import containers, images, query
from groundplane.dockerapi.create import Reader, container_spec, updated
from groundplane.dockerapi.errors import NotOffered, _check_version, errors_as_json, status_of
from groundplane.dockerapi.shapes import inspect_container, list_entry, repo_digests, status_text
from groundplane.dockerapi.stamps import human_duration, time_text
from groundplane.engine.contract import (
    BadParameter,
    Conflicting,
    ContainerInfo,
    ContainerSpec,
    EngineError,
    ImageInfo,
    Mount,
    NoSuchImage,
    Resources,
    State,
)

CLOCK = VirtualClock()
NOW = int(CLOCK.time() * 1e9)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(28, "No space left on device", "/r/x"),
            "the engine cannot write its state (/r/x): No space left on device",
        ),
        (OSError(30, "Read-only file system"), "the engine cannot write its state: Read-only file system"),
        (OSError(5, "Input/output error"), "internal error: OSError: [Errno 5] Input/output error"),
    ],
)
def test_a_full_disk_is_not_called_a_defect(error: OSError, words: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    answer = asyncio.run(errors_as_json(make_mocked_request("GET", "/info"), handler))
    assert isinstance(answer, web.Response) and isinstance(answer.body, bytes)
    assert (answer.status, loads(answer.body)) == (500, {"message": words})


def spec(**host: Any) -> ContainerSpec:
    return container_spec("x", {"Image": "i", "HostConfig": host})


def test_what_docker_sends_by_default_is_nothing_special() -> None:
    made = container_spec("/web", {"Image": "i", "Cmd": ["a"], "Env": ["A=1=2", "BARE"], "HostConfig": None})
    assert made == replace(
        ContainerSpec("i", "web", args=["a"], env={"A": "1=2"}), mounts=[], devices=[], docker=made.docker
    )


def test_entrypoints() -> None:
    for given, wanted in ((None, None), ([], None), ([""], []), (["sh", "-c"], ["sh", "-c"]), ("sh", ["sh"])):
        assert container_spec("", {"Image": "i", "Entrypoint": given}).entrypoint == wanted


def test_mounts() -> None:
    made = spec(
        Binds=["/a:/b", "/c:/d:ro,rshared"],
        Tmpfs={"/t": "size=1m"},
        Mounts=[
            {"Type": "bind", "Source": "/s", "Target": "/m", "ReadOnly": True},
            {"Type": "tmpfs", "Target": "/n", "TmpfsOptions": {"SizeBytes": 5, "Mode": 0o700}},
        ],
    )
    assert made.mounts == [
        Mount("/b", "/a"),
        Mount("/d", "/c", read_only=True, propagation="rshared"),
        Mount("/m", "/s", read_only=True),
        Mount("/n", "tmpfs", "tmpfs", options=("size=5", "mode=700")),
        Mount("/t", "tmpfs", "tmpfs", options=("noexec", "nosuid", "nodev", "size=1m")),
    ]


def test_limits_and_security() -> None:
    made = spec(
        NanoCpus=1_500_000_000,
        Memory=64 << 20,
        PidsLimit=-1,
        OomScoreAdj=0,  # what the docker command line always sends: not asked for
        SecurityOpt=["no-new-privileges", "seccomp=unconfined", "label=disable"],
        MaskedPaths=[],
        GroupAdd=["7"],
        Ulimits=[{"Name": "nofile", "Soft": 1, "Hard": 2}],
        MemorySwappiness=-1,  # and what it sends for nothing
        Dns=[],
        OomKillDisable=False,
    )
    assert made.resources == Resources(cpu_quota=150_000, cpu_period=100_000, memory=64 << 20)
    assert made.security.no_new_privileges and made.security.seccomp == "unconfined"
    assert (made.security.masked_paths, made.security.read_only_paths, made.security.groups) == ((), None, (7,))
    assert made.ulimits == {"nofile": (1, 2)}


@pytest.mark.parametrize(
    "host",
    [
        {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
        {"PublishAllPorts": True},
        {"RestartPolicy": {"Name": "always"}},
        {"NetworkMode": "bridge"},
        {"NetworkMode": "mine"},
        {"NetworkMode": "container:x"},
        {"VolumesFrom": ["x"]},
        {"ExtraHosts": ["a:1.2.3.4"]},
        {"MemorySwap": 1 << 30},
        {"UTSMode": "host"},
        {"Binds": ["named:/x"]},
        {"Mounts": [{"Type": "volume", "Target": "/x"}]},
        {"DeviceRequests": [{}]},
        {"PidMode": "container:x"},
        {"LogConfig": {"Type": "syslog"}},
        {"GroupAdd": ["audio"]},
        {"UsernsMode": "keep-id"},
    ],
)
def test_what_is_not_offered_is_one_sentence(host: dict[str, Any]) -> None:
    with pytest.raises(NotOffered) as caught:
        spec(**host)
    assert "\n" not in str(caught.value) and status_of(caught.value) == 501


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Image": 5},
        {"Image": "i", "Env": "A=1"},
        {"Image": "i", "Env": ["=x"]},
        {"Image": "i", "Tty": "yes"},
        {"Image": "i", "StopTimeout": True},
        {"Image": "i", "Cmd": [1]},
        {"Image": "i", "HostConfig": {"Memory": 1}},
        {"Image": "i", "HostConfig": {"NanoCpus": 1, "CpuQuota": 1}},
        {"Image": "i", "HostConfig": {"Binds": ["/a"]}},
        {"Image": "i", "HostConfig": {"Binds": ["/a:/b:weird"]}},
        {"Image": "i", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/x", "Target": "rel"}]}},
        {"Image": "i", "HostConfig": {"SecurityOpt": ["magic=1"]}},
    ],
)
def test_wrong_requests_are_400(body: dict[str, Any]) -> None:
    with pytest.raises(BadParameter) as caught:
        container_spec("", body)
    assert status_of(caught.value) == 400


def test_statuses_of_errors() -> None:
    errors = (NoSuchImage("x"), Conflicting("x"), EngineError("x"))
    assert [status_of(error) for error in errors] == [404, 409, 500]


def test_versions_of_clients() -> None:
    for version in ("", "1.24", "1.47"):
        _check_version(version)
    for version, words in (("1.48", "too new"), ("1.12", "too old")):
        with pytest.raises(BadParameter, match=words):
            _check_version(version)


def test_times() -> None:
    assert time_text(0) == "0001-01-01T00:00:00Z"
    assert time_text(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert time_text(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert human_duration(0) == "Less than a second" and human_duration(3600 * 47) == "47 hours"


def info(**changes: Any) -> ContainerInfo:
    made = ContainerInfo(
        "c" * 64, ContainerSpec("app", "web", network="none"), "sha256:" + "1" * 64, State.RUNNING, NOW
    )
    return replace(made, started_at=NOW - 5_000_000_000, pid=7, argv=("sh", "-c", "a b"), **changes)


def test_a_container_in_a_listing() -> None:
    entry = list_entry(info(), "app", CLOCK)
    assert (entry["Status"], entry["Command"], entry["Names"]) == ("Up 5 seconds", "sh -c 'a b'", ["/web"])
    ended = info(state=State.EXITED, exit_code=3, finished_at=NOW - 60_000_000_000)
    assert status_text(ended, CLOCK) == "Exited (3) About a minute ago"
    assert status_text(info(state=State.EXITED, exit_code=None, finished_at=NOW), CLOCK).startswith("Exited (255)")


def test_a_container_inspected() -> None:
    image = ImageInfo(
        "sha256:1", ["app:latest"], {"config": {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "User": "5"}}, 1, 0
    )
    found = inspect_container(info(spec=ContainerSpec("app", "web", env={"A": "2"})), image)
    assert found["Config"]["Env"] == ["PATH=/bin", "A=2"]
    assert (found["Config"]["Cmd"], found["Config"]["User"], found["Path"]) == (["sh"], "5", "sh")
    assert (found["State"]["Pid"], found["State"]["FinishedAt"]) == (7, "0001-01-01T00:00:00Z")
    assert inspect_container(info(), None)["Config"]["Cmd"] is None


def test_an_update_changes_what_it_names_and_inspect_shows_it() -> None:
    held = Resources(memory=64 << 20, cpu_quota=50_000, cpu_period=100_000, pids=10, oom_score_adj=5)
    assert updated(held, Reader({"NanoCpus": 2_000_000_000, "Memory": 0, "PidsLimit": None})) == replace(
        held, cpu_quota=200_000
    )
    assert updated(held, Reader({"Memory": 32 << 20})) == replace(held, memory=32 << 20)
    assert updated(held, Reader({"PidsLimit": -1})) == replace(held, pids=0)
    asked = {"HostConfig": {"Memory": 64 << 20, "NanoCpus": 500_000_000, "PidsLimit": 10}}
    changed = ContainerSpec("app", "web", docker=asked, resources=replace(held, memory=32 << 20, cpu_quota=200_000))
    shown = inspect_container(info(spec=changed), None)["HostConfig"]
    assert (shown["Memory"], shown["NanoCpus"], shown["PidsLimit"]) == (32 << 20, 2_000_000_000, 10)


def test_names_are_filtered_with_and_without_their_slash() -> None:
    here: Any = None  # no filter of these asks the engine
    for text, matches in (("^web$", True), ("^/web$", True), ("we", True), ("^eb", False)):
        assert containers._wanted(here, info(), {"name": [text]}) is matches


def test_images_are_filtered_by_when_they_were_made() -> None:
    made = [ImageInfo(f"sha256:{n}", [f"i{n}"], {}, 1, n * 1_000_000_000) for n in range(4)]

    class Images:
        def resolve(self, name: str) -> ImageInfo:
            return made[int(name[1:])]

    def found(**wanted: list[str]) -> list[int]:
        stamps = images._stamps(Images(), wanted)  # type: ignore[arg-type]  # nothing else of it is asked
        return [number for number, image in enumerate(made) if images._made_then(image, stamps)]

    assert found() == [0, 1, 2, 3]
    assert found(before=["i2"]) == [0, 1]
    assert found(since=["i1"]) == [2, 3]
    assert found(since=["i0"], until=["3"]) == [1, 2]


def test_repo_digests() -> None:
    image = ImageInfo("sha256:1", ["localhost:5000/a:1", "localhost:5000/a:2", "b:1"], {}, 1, 0, "sha256:9")
    assert repo_digests(image) == ["localhost:5000/a@sha256:9", "b@sha256:9"]


def request(target: str) -> Any:
    return make_mocked_request("GET", target)


def test_query_values() -> None:
    asked = request("/?a=1&b=false&c=&d=True&n=5&t=12.5&r=2023-11-14T22:13:20Z")
    assert [query.flag(asked, name) for name in "abcde"] == [True, False, False, True, False]
    assert query.number(asked, "n") == 5 and query.number(asked, "none", 3) == 3
    assert query.stamp(asked, "t") == 12_500_000_000 and query.stamp(asked, "r") == 1_700_000_000_000_000_000
    for name, read in (("a", query.stamp), ("d", query.number), ("d", query.stamp)):
        if name == "d":
            with pytest.raises(BadParameter):
                read(asked, name)


def test_filters_in_both_forms() -> None:
    known = frozenset({"label", "name"})
    assert query.filters(request("/"), known) == {}
    assert query.filters(request('/?filters={"label":["a=b"]}'), known) == {"label": ["a=b"]}
    assert query.filters(request('/?filters={"label":{"a":true,"b":false}}'), known) == {"label": ["a"]}
    for wrong in ("x", "[]", '{"other":[]}', '{"label":5}', '{"label":[5]}'):
        with pytest.raises(BadParameter, match="invalid filter"):
            query.filters(request(f"/?filters={wrong}"), known)
    assert query.labels_match({"a": "b"}, ["a", "a=b"]) and not query.labels_match({"a": "b"}, ["a=c"])
