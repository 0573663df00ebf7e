"""Volumes on the real kernel: what is mounted, how large it is, and what a container that starts again finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.node_builders import container, pod

from groundplane.node.volumes.manager import Volumes
from groundplane.node.volumes.payload import VolumeError

pytestmark = pytest.mark.needs("root")
Run = Callable[[Coroutine[Any, Any, None]], None]
NODE_MEMORY = 1 << 30


class Cluster:
    """One ConfigMap."""

    def __init__(self) -> None:
        self.data = {"k": "old"}

    async def config_map(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return {"data": self.data}

    async def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return {"data": {}}

    async def token(self, pod: dict[str, Any], audience: str, seconds: int) -> str:
        return "token"


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def volumes(state_root: Path, cluster: Cluster) -> Iterator[Volumes]:
    made = Volumes(str(state_root), "192.0.2.1", cluster, cluster, NODE_MEMORY)
    yield made
    made.teardown("u1")
    assert str(state_root) not in Path("/proc/self/mountinfo").read_text()


def mounted(*mounts: dict[str, Any]) -> dict[str, Any]:
    return container(volumeMounts=[{"name": "v", **mount} for mount in mounts])


def test_a_sub_path_shows_what_its_config_map_has_when_the_container_starts(
    volumes: Volumes, cluster: Cluster, run: Run
) -> None:
    async def work() -> None:
        one = mounted({"mountPath": "/k", "subPath": "k"})
        a_pod = pod(one, volumes=[{"name": "v", "configMap": {"name": "c"}}])
        await volumes.prepare(a_pod)
        [first] = volumes.mounts(a_pod, one, {})
        assert Path(first.source).read_text() == "old"
        identity = os.stat(first.source).st_ino
        [same] = volumes.mounts(a_pod, one, {})
        assert (same, os.stat(same.source).st_ino) == (first, identity)
        cluster.data = {"k": "new"}
        await volumes.refresh(a_pod)
        assert Path(first.source).read_text() == "old"  # of the container that runs
        [again] = volumes.mounts(a_pod, one, {})
        assert Path(again.source).read_text() == "new"
        assert Path("/proc/self/mountinfo").read_text().count(f" {again.source} ") == 1

    run(work())


def test_a_sub_path_may_become_a_directory(volumes: Volumes, state_root: Path, run: Run) -> None:
    async def work() -> None:
        host = state_root / "host"
        host.mkdir()
        (host / "x").write_text("file")
        one = mounted({"mountPath": "/x", "subPath": "x"})
        a_pod = pod(one, volumes=[{"name": "v", "hostPath": {"path": str(host)}}])
        await volumes.prepare(a_pod)
        assert Path(volumes.mounts(a_pod, one, {})[0].source).is_file()
        (host / "x").unlink()
        (host / "x").mkdir()
        (host / "x/y").touch()
        assert os.listdir(volumes.mounts(a_pod, one, {})[0].source) == ["y"]

    run(work())


def test_a_sub_path_that_cannot_be_tells_nothing_of_the_host(volumes: Volumes, state_root: Path, run: Run) -> None:
    async def work() -> None:
        (state_root / "file").touch()
        one = mounted({"mountPath": "/x", "subPath": "x"})
        a_pod = pod(one, volumes=[{"name": "v", "hostPath": {"path": str(state_root / "file")}}])
        await volumes.prepare(a_pod)
        with pytest.raises(VolumeError) as refused:
            volumes.mounts(a_pod, one, {})
        assert str(refused.value) == 'failed to prepare subPath for volumeMount "v" of container "web"'

    run(work())


SIZES: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({}, {}, NODE_MEMORY),
    ({}, {"limits": {"memory": "64Mi"}}, 64 << 20),
    ({"sizeLimit": "32Mi"}, {"limits": {"memory": "64Mi"}}, 32 << 20),
    ({"sizeLimit": "128Mi"}, {"limits": {"memory": "64Mi"}}, 64 << 20),
]


@pytest.mark.parametrize(("source", "resources", "size"), SIZES)
def test_a_volume_in_memory_is_no_larger_than_what_its_pod_may_use(
    volumes: Volumes, state_root: Path, run: Run, source: dict[str, Any], resources: dict[str, Any], size: int
) -> None:
    async def work() -> None:
        memory = {"name": "v", "emptyDir": {"medium": "Memory", **source}}
        await volumes.prepare(pod(container(resources=resources), volumes=[memory]))
        [path] = state_root.glob("pods/u1/volumes/*/v")
        found = os.statvfs(path)
        assert found.f_blocks * found.f_frsize == size

    run(work())


def test_an_ended_pods_volumes_go_and_its_last_words_stay(volumes: Volumes, state_root: Path, run: Run) -> None:
    async def work() -> None:
        one = mounted({"mountPath": "/x", "subPath": "x"})
        await volumes.prepare(a_pod := pod(one, volumes=[{"name": "v", "emptyDir": {"medium": "Memory"}}]))
        volumes.mounts(a_pod, one, {})
        said = state_root / "pods/u1/containers/web/0"
        said.parent.mkdir(parents=True)
        said.write_text("bye")
        volumes.release("u1")
        volumes.release("u1")
        assert os.listdir(state_root / "pods/u1") == ["containers"]
        assert str(state_root) not in Path("/proc/self/mountinfo").read_text()

    run(work())
