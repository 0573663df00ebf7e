"""The control group contract against every driver: over trees in memory, and over this host's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from tests.contracts.cgroups_suite import COMPLETE, TOP, WITH_DEVICES, device_rules_are_taken
from tests.fakes.cgroup_tree import FakeTree

from groundplane.kernel.cgroups import registry
from groundplane.kernel.cgroups.contract import Groups
from groundplane.kernel.cgroups.hybrid import Hybrid
from groundplane.kernel.cgroups.v1 import V1, Hierarchy
from groundplane.kernel.cgroups.v2 import V2

Behaviour = Callable[[Groups, int], None]
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "pids", "freezer", "devices", "blkio")
_LEFT_TO_V2 = ("hugetlb", "rdma")


def _v1(tree: FakeTree, *more: str) -> list[Hierarchy]:
    return [Hierarchy((name,), tree.mount(f"/cg/{name}", 1, name)) for name in (*_V1, *more)]


@pytest.mark.parametrize("behaviour", [*COMPLETE, device_rules_are_taken], ids=lambda f: f.__name__)
def test_v1_in_memory(behaviour: Behaviour) -> None:
    tree = FakeTree()
    behaviour(V1(_v1(tree, *_LEFT_TO_V2), tree), 4242)


@pytest.mark.parametrize("behaviour", COMPLETE, ids=lambda f: f.__name__)
def test_v2_in_memory(behaviour: Behaviour) -> None:
    tree = FakeTree()
    behaviour(V2(tree.mount("/cg", 2, "cpu", "cpuset", "memory", "pids", "io", *_LEFT_TO_V2), tree), 4242)


@pytest.mark.parametrize("behaviour", [*COMPLETE, device_rules_are_taken], ids=lambda f: f.__name__)
def test_hybrid_in_memory(behaviour: Behaviour) -> None:
    tree = FakeTree()
    behaviour(Hybrid(_v1(tree), tree.mount("/cg/unified", 2, *_LEFT_TO_V2), tree), 4242)


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "100"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.needs("root", "cgroups")
@pytest.mark.parametrize("behaviour", WITH_DEVICES, ids=lambda f: f.__name__)
def test_this_host(behaviour: Behaviour, sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import tests.contracts.cgroups_suite as suite

    monkeypatch.setattr(suite, "PATH", f"{TOP}-{os.getpid()}/pods/one")
    monkeypatch.setattr(suite, "TOP", f"{TOP}-{os.getpid()}")
    groups = registry.detect()
    try:
        behaviour(groups, sleeper)
    finally:
        groups.kill(suite.TOP)
        groups.remove(suite.TOP)


V2_HERE = "/sys/fs/cgroup/unified"  # the v2 tree of a hybrid host, which has no controllers to grant limits with
_NEED_CONTROLLERS = ("grants_limits_it_has_means_for", "counts_everything")
WITHOUT_CONTROLLERS = [b for b in WITH_DEVICES if b.__name__ not in _NEED_CONTROLLERS]


@pytest.mark.needs("root", "cgroups")
@pytest.mark.skipif(not os.path.exists(f"{V2_HERE}/cgroup.controllers"), reason="this host has no v2 tree beside v1's")
@pytest.mark.parametrize("behaviour", WITHOUT_CONTROLLERS, ids=lambda f: f.__name__)
def test_this_hosts_v2_tree_alone(behaviour: Behaviour, sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import tests.contracts.cgroups_suite as suite

    monkeypatch.setattr(suite, "PATH", f"{TOP}-{os.getpid()}/pods/one")
    monkeypatch.setattr(suite, "TOP", f"{TOP}-{os.getpid()}")
    groups = V2(V2_HERE)
    try:
        behaviour(groups, sleeper)
    finally:
        groups.kill(suite.TOP)
        groups.remove(suite.TOP)
