"""Control groups: what each limit becomes in files, what is refused and how, what is counted."""

from __future__ import annotations

import pytest
from tests.contracts.cgroups_suite import put
from tests.fakes.cgroup_tree import FakeTree

from groundplane.kernel.cgroups.contract import Limits
from groundplane.kernel.cgroups.hybrid import Hybrid
from groundplane.kernel.cgroups.usage import NO_LIMIT
from groundplane.kernel.cgroups.v1 import V1, Hierarchy
from groundplane.kernel.cgroups.v2 import V2
from groundplane.kernel.errors import KernelError


def v1(*controllers: str) -> tuple[V1, FakeTree]:
    tree = FakeTree()
    driver = V1([Hierarchy((name,), tree.mount(f"/{name}", 1, name)) for name in controllers], tree)
    driver.create("a")
    return driver, tree


def v2(*controllers: str) -> tuple[V2, FakeTree]:
    tree = FakeTree()
    driver = V2(tree.mount("/c", 2, *controllers), tree)
    driver.create("a")
    tree.writes.clear()
    return driver, tree


@pytest.mark.parametrize(
    ("limits", "writes"),
    [
        (Limits(cpu_idle=1, cpu_shares=5), [("cpu.idle", "1")]),
        (Limits(cpu_idle=0, cpu_shares=5), [("cpu.idle", "0"), ("cpu.shares", "5")]),
        (Limits(cpu_rt_period=10, cpu_rt_runtime=5), [("cpu.rt_period_us", "10"), ("cpu.rt_runtime_us", "5")]),
        (Limits(cpu_burst=0), [("cpu.cfs_burst_us", "0")]),
        (Limits(cpu_quota=9000, cpu_burst=5), [("cpu.cfs_burst_us", "5"), ("cpu.cfs_quota_us", "9000")]),
    ],
)
def test_v1_cpu(limits: Limits, writes: list[tuple[str, str]]) -> None:
    driver, tree = v1("cpu")
    assert driver.set("a", limits) == []
    assert tree.writes == [(f"/cpu/a/{file}", text) for file, text in writes]


def test_a_burst_above_the_present_quota_goes_in_behind_the_new_one() -> None:
    driver, tree = v1("cpu")
    driver.set("a", Limits(cpu_quota=1000))
    driver.set("a", Limits(cpu_quota=9000, cpu_burst=5000))
    assert tree.files["/cpu/a/cpu.cfs_burst_us"] == "5000"
    with pytest.raises(KernelError, match="Invalid argument"):
        driver.set("a", Limits(cpu_burst=50_000))


@pytest.mark.parametrize(
    ("limits", "writes"),
    [
        (Limits(blkio_weight=200), [("blkio.bfq.weight", "200")]),
        (Limits(blkio_weight_devices=[(8, 1, 300, None)]), [("blkio.bfq.weight_device", "8:1 300")]),
        (Limits(blkio_throttle=[("read_iops", 8, 0, 7)]), [("blkio.throttle.read_iops_device", "8:0 7")]),
    ],
)
def test_v1_io(limits: Limits, writes: list[tuple[str, str]]) -> None:
    driver, tree = v1("blkio")
    assert driver.set("a", limits) == []
    assert tree.writes == [(f"/blkio/a/{file}", text) for file, text in writes]


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (Limits(hugetlb=[("2MB", 7)]), ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"]),
        (Limits(net_classid=7), ["net_cls.classid"]),
        (Limits(net_priorities=[("eth0", 7)]), ["net_prio.ifpriomap"]),
        (Limits(rdma=[("mlx4_0", 7, 8)]), ["rdma.max"]),
    ],
)
def test_v1_rare_controllers(limits: Limits, files: list[str]) -> None:
    driver, tree = v1("hugetlb", "net_cls", "net_prio", "rdma")
    assert driver.set("a", limits) == []
    assert [path.rpartition("/")[2] for path, _ in tree.writes] == files
    assert all("7" in text for _, text in tree.writes)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(hugetlb=[("2MB", 7)]), "cannot set hugetlb limit: the controller is not mounted on this host"),
        (Limits(net_classid=7), "cannot set net_cls limit: the controller is not mounted on this host"),
        (Limits(rdma=[("x", 1, None)]), "cannot set rdma limit: the controller is not mounted on this host"),
        (Limits(unified={"memory.max": "1"}), "cannot use unified on cgroup v1"),
        (Limits(blkio_leaf_weight=10), "cannot set blkio leaf_weight: this kernel has no such file"),
        (Limits(blkio_weight_devices=[(8, 0, None, 9)]), "cannot set blkio leaf_weight_device: this kernel"),
    ],
)
def test_v1_says_what_it_has_no_means_for(limits: Limits, sentence: str) -> None:
    driver, _ = v1("blkio")
    (said,) = driver.set("a", limits)
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("limits", "writes"),
    [
        (Limits(cpu_quota=5000), [("cpu.max", "5000 100000")]),
        (Limits(cpu_quota=-1, cpu_period=5000), [("cpu.max", "max 5000")]),
        (Limits(cpu_idle=1, cpu_shares=5), [("cpu.idle", "1")]),
        (Limits(cpu_burst=5, cpu_quota=9000), [("cpu.max.burst", "5"), ("cpu.max", "9000 100000")]),
        (Limits(memory=-1), [("memory.swap.max", "max"), ("memory.max", "max")]),
        (Limits(memory=9, memory_reservation=5), [("memory.max", "9"), ("memory.low", "5")]),
        (Limits(blkio_weight=1000), [("io.weight", "10000")]),
        (Limits(blkio_weight_devices=[(8, 0, 10, None)]), [("io.weight", "8:0 1")]),
        (Limits(blkio_throttle=[("write_bps", 8, 0, 5)]), [("io.max", "8:0 wbps=5")]),
        (Limits(blkio_throttle=[("read_iops", 8, 0, 0)]), [("io.max", "8:0 riops=max")]),
        (Limits(hugetlb=[("2MB", 7)]), [("hugetlb.2MB.max", "7"), ("hugetlb.2MB.rsvd.max", "7")]),
        (Limits(rdma=[("mlx4_0", 3, None)]), [("rdma.max", "mlx4_0 hca_handle=3")]),
        (Limits(unified={"memory.high": "5", "pids.max": "3"}), [("memory.high", "5"), ("pids.max", "3")]),
    ],
)
def test_v2_files(limits: Limits, writes: list[tuple[str, str]]) -> None:
    driver, tree = v2("cpu", "memory", "io", "pids", "hugetlb", "rdma")
    assert driver.set("a", limits) == []
    assert tree.writes == [(f"/c/a/{file}", text) for file, text in writes]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(memory=9), "cannot set memory limit: this host has no memory.max"),
        (Limits(cpu_quota=9), "cannot set cpu limit: this host has no cpu.max"),
        (Limits(blkio_weight=100), "cannot set io weight: this host has no io.weight"),
        (Limits(cpu_rt_runtime=9), "cannot set real-time CPU budget: cgroup v2 has none"),
        (Limits(swappiness=9), "cannot set memory swappiness: cgroup v2 has none"),
        (Limits(oom_kill_disable=True), "cannot set OOM killer: cgroup v2 has none"),
        (Limits(net_classid=1), "cannot set network class: cgroup v2 has none"),
        (Limits(blkio_leaf_weight=10), "cannot set blkio leaf_weight: cgroup v2 has none"),
    ],
)
def test_v2_says_what_it_has_no_means_for(limits: Limits, sentence: str) -> None:
    driver, _ = v2("pids")
    assert driver.set("a", limits) == [sentence]


@pytest.mark.parametrize(
    ("unified", "sentence"),
    [
        ({"a/b": "1"}, 'unified resource "a/b" must be a file name (no slashes)'),
        ({"nodot": "1"}, 'unified resource "nodot" must be in the form CONTROLLER.PARAMETER'),
        ({"memory.max": "1"}, 'unified resource "memory.max" can\'t be set: controller "memory" not available'),
        ({"pids.foo": "1"}, 'unable to set unified resource "pids.foo"'),
    ],
)
def test_v2_unified_errors_are_runcs(unified: dict[str, str], sentence: str) -> None:
    driver, _ = v2("pids")
    with pytest.raises(KernelError) as caught:
        driver.set("a", Limits(unified=unified))
    assert caught.value.hint == sentence


def test_v2_refuses_a_limit_below_usage_only_when_asked_to() -> None:
    driver, tree = v2("memory")
    tree.files["/c/a/memory.current"] = "1000"
    assert driver.set("a", Limits(memory=10)) == []
    with pytest.raises(KernelError, match="rejecting memory limit 10 < usage 1000"):
        driver.set("a", Limits(memory=10, memory_check=True))


def test_v2_a_process_goes_where_init_is_once_the_group_takes_none() -> None:
    driver, tree = v2("pids")
    put(driver, "a", 7)
    driver.create("b/inner")
    tree.files["/proc/8/cgroup"] = "0::/b/inner"
    tree.write("/c/b/inner/cgroup.procs", "8")
    with pytest.raises(KernelError, match="busy"):
        put(driver, "b", 9)
    put(driver, "b", 9, beside=8)
    assert driver.processes("b/inner") == [8, 9]


def test_v2_delegation_gives_what_the_kernel_names() -> None:
    driver, tree = v2("pids")
    driver.delegate("a", 1000)
    assert set(tree.owners) == {"/c/a", "/c/a/cgroup.procs", "/c/a/cgroup.subtree_control", "/c/a/cgroup.threads"}
    tree.files["/sys/kernel/cgroup/delegate"] = "cgroup.procs\nmemory.oom.group"
    tree.owners.clear()
    driver.delegate("a", 1000)
    assert tree.owners == {"/c/a": 1000, "/c/a/cgroup.procs": 1000}


def test_hybrid_grants_where_the_controller_is() -> None:
    tree = FakeTree()
    memory = Hierarchy(("memory",), tree.mount("/m", 1, "memory"))
    driver = Hybrid([memory], tree.mount("/u", 2, "pids", "io"), tree)
    driver.create("a")
    limits = Limits(memory=1 << 20, pids=5, blkio_throttle=[("read_bps", 8, 0, 9)], unified={"pids.max": "6"})
    assert driver.set("a", limits) == []
    assert tree.files["/m/a/memory.limit_in_bytes"] == str(1 << 20)
    assert (tree.files["/u/a/pids.max"], tree.files["/u/a/io.max"]) == ("6", "8:0 rbps=9")
    assert driver.set("a", Limits(cpu_shares=5)) == ["cannot set cpu limit: the controller is not mounted on this host"]


def test_v1_counters() -> None:
    driver, tree = v1("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb", "rdma")
    tree.files["/cpuacct/a/cpuacct.usage"] = "1000"
    tree.files["/cpuacct/a/cpuacct.stat"] = "user 3\nsystem 4"
    tree.files["/cpuacct/a/cpuacct.usage_all"] = "cpu user system\n0 5 6\n1 7 8"
    tree.files["/memory/a/memory.failcnt"] = "9"
    usage = driver.usage("a")
    assert usage.cpu is not None
    assert (usage.cpu.total, usage.cpu.user, usage.cpu.kernel) == (1000, 30_000_000, 40_000_000)
    assert (usage.cpu.per_cpu_user, usage.cpu.per_cpu_kernel) == ([5, 7], [6, 8])
    assert (usage.cpu.periods, usage.cpu.throttled_periods, usage.cpu.throttled_time) == (4, 2, 9000)
    assert usage.memory is not None
    assert (usage.memory.cache, usage.memory.used.failures, usage.memory.kernel.limit) == (4096, 9, 0)
    assert usage.io is not None
    assert usage.io.tables == {"service_bytes": [(8, 0, "Read", 512), (8, 0, "Write", 0)]}
    assert usage.hugetlb["2MB"].failures == 3
    assert usage.rdma == {"mlx4_0": {"hca_handle": 2, "hca_object": 2000}}
    assert usage.cpuset["sched_load_balance"] == "1"


def test_v2_counters() -> None:
    driver, tree = v2("cpu", "memory", "pids", "io", "hugetlb", "rdma")
    tree.files["/c/a/cpu.stat"] = "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 1\nthrottled_usec 2"
    tree.files["/c/a/memory.current"] = "100"
    tree.files["/c/a/memory.max"] = "1000"
    tree.files["/c/a/memory.swap.current"] = "20"
    tree.files["/c/a/memory.swap.max"] = "50"
    tree.files["/c/a/pids.max"] = "5"
    usage = driver.usage("a")
    assert usage.cpu is not None
    assert (usage.cpu.total, usage.cpu.user, usage.cpu.kernel, usage.cpu.throttled_time) == (9000, 5000, 4000, 2000)
    assert (usage.cpu.pressure["some"].avg10, usage.cpu.pressure["some"].total) == (0.5, 1234)
    assert usage.memory is not None
    assert (usage.memory.used.used, usage.memory.used.limit) == (100, 1000)
    assert (usage.memory.swap.used, usage.memory.swap.limit) == (120, 1050), "with memory, as v1 counts"
    assert usage.pids_limit == 5
    assert usage.io is not None
    assert usage.io.tables == {
        "service_bytes": [(8, 0, "Read", 512), (8, 0, "Write", 0)],
        "serviced": [(8, 0, "Read", 1), (8, 0, "Write", 0)],
    }
    assert (usage.hugetlb["2MB"].failures, usage.hugetlb["2MB"].limit) == (3, NO_LIMIT)
