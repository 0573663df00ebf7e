"""What every control group driver must do, as functions that take a driver and processes to put into groups."""

from __future__ import annotations

import pytest

from groundplane.kernel.cgroups.contract import DeviceRule, Groups, Limits
from groundplane.kernel.errors import KernelError

TOP = "ground-test-suite"
PATH = f"{TOP}/pods/one"


def put(groups: Groups, path: str, pid: int, **where: dict[str, str] | int) -> None:
    """Move a process that somebody else has made, through the files that an entrance names."""
    entrance = groups.entrance(path, **where)  # type: ignore[arg-type]
    tree = groups._tree  # type: ignore[attr-defined] # the kernel's, or one in memory
    for file in [*entrance.tasks, *([f"{entrance.directory}/cgroup.procs"] if entrance.directory else [])]:
        tree.write(file, str(pid))


def makes_parents_and_is_idempotent(groups: Groups, pid: int) -> None:
    assert not groups.exists(PATH)
    groups.create(PATH)
    groups.create(PATH)
    assert groups.exists(PATH)
    assert groups.exists(f"{TOP}/pods")


def removes_with_what_the_container_made_below(groups: Groups, pid: int) -> None:
    groups.create(f"{PATH}/inner/most")
    groups.remove(PATH)
    groups.remove(PATH)
    assert not groups.exists(PATH)
    assert groups.exists(f"{TOP}/pods"), "parents are left"


def finds_and_kills_what_was_attached(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    put(groups, PATH, pid)
    assert groups.processes(PATH) == [pid]
    assert groups.processes(TOP) == [pid], "those below count"
    groups.kill(PATH)
    groups.remove(PATH)
    assert groups.processes(PATH) == []


def grants_limits_it_has_means_for(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    degraded = groups.set(PATH, Limits(memory=64 << 20, pids=20, cpu_shares=512, cpu_quota=50000, cpu_period=100000))
    assert degraded == []
    stats = groups.stats(PATH)
    assert stats.memory_limit == 64 << 20
    assert stats.cpu_ns == 0
    assert stats.pids == 0
    assert groups.set(PATH, Limits(memory=-1, pids=-1)) == []
    assert groups.stats(PATH).memory_limit is None


def says_what_it_cannot_grant(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    sentences = groups.set(PATH, Limits(net_classid=7))
    assert len(sentences) == 1
    assert "net" in sentences[0]


def freezes_and_kills_what_is_frozen(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    put(groups, PATH, pid)
    assert not groups.frozen(PATH)
    groups.freeze(PATH)
    assert groups.frozen(PATH)
    groups.thaw(PATH)
    assert not groups.frozen(PATH)
    groups.freeze(PATH)
    groups.kill(PATH)
    groups.remove(PATH)


def a_group_that_is_gone_is_empty(groups: Groups, pid: int) -> None:
    assert groups.processes("ground-test-none") == []
    assert groups.oom_count("ground-test-none") == 0
    assert not groups.frozen("ground-test-none")
    groups.kill("ground-test-none")
    groups.remove("ground-test-none")


def refuses_paths_that_lead_elsewhere(groups: Groups, pid: int) -> None:
    for path in ("", "/", "/abs", "a/../b", "a//b", ".", "a/."):
        for call in (groups.create, groups.remove, groups.kill, groups.processes):
            with pytest.raises(KernelError):
                call(path)


def device_rules_are_taken(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    rules = [
        DeviceRule(allow=False, kind="a", major=None, minor=None, access="rwm"),
        DeviceRule(allow=True, kind="c", major=1, minor=3, access="rw"),
    ]
    assert groups.set(PATH, Limits(devices=rules)) == []


def grants_every_limit_of_the_specification(groups: Groups, pid: int) -> None:
    """Where all controllers are there: nothing is left out, and granting it all again is no error."""
    groups.create(PATH)
    limits = Limits(
        cpu_shares=512,
        cpu_quota=50000,
        cpu_period=100000,
        cpu_burst=10000,
        cpuset_cpus="0",
        cpuset_mems="0",
        memory=64 << 20,
        memory_swap=128 << 20,
        memory_reservation=32 << 20,
        pids=20,
        blkio_weight=200,
        blkio_weight_devices=[(8, 0, 300, None)],
        blkio_throttle=[("read_bps", 8, 0, 1 << 20), ("write_iops", 8, 0, 100)],
        hugetlb=[("2MB", 4 << 20)],
        rdma=[("mlx4_0", 2, None)],
    )
    assert groups.set(PATH, limits) == []
    assert groups.set(PATH, limits) == []
    smaller = Limits(memory=8 << 20, memory_swap=16 << 20, cpu_quota=5000, cpu_burst=1000, memory_check=True)
    assert groups.set(PATH, smaller) == []
    assert groups.stats(PATH).memory_limit == 8 << 20


def idle_and_back(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    assert groups.set(PATH, Limits(cpu_idle=1, cpu_shares=512)) == []
    assert groups.set(PATH, Limits(cpu_idle=0, cpu_shares=512)) == []


def counts_everything(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    groups.set(PATH, Limits(pids=20))
    usage = groups.usage(PATH)
    assert usage.cpu is not None
    assert usage.cpu.total == 0
    assert usage.memory is not None
    assert usage.memory.used.used == 0
    assert usage.memory.stat
    assert (usage.pids, usage.pids_limit) == (0, 20)
    assert usage.io is not None
    with pytest.raises(KernelError):
        groups.usage("ground-test-none")


def attaches_below(groups: Groups, pid: int) -> None:
    groups.create(f"{PATH}/inner")
    put(groups, PATH, pid, below={"": "inner"})
    assert groups.processes(f"{PATH}/inner") == [pid]
    for below in ({"": "missing"}, {"nonsense": "inner"}, {"": "../one"}):
        with pytest.raises(KernelError):
            put(groups, PATH, pid, below=below)


def takes_back_parents_that_nobody_uses(groups: Groups, pid: int) -> None:
    groups.create(f"{PATH}/inner")
    groups.prune(PATH)
    assert groups.exists(f"{PATH}/inner")
    groups.remove(f"{PATH}/inner")
    groups.prune(PATH)
    assert not groups.exists(PATH)
    groups.prune(PATH)


def reaches_groups_below_groups(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    deepest = PATH
    for _ in range(3):
        deepest += "/nested"
        groups.create(deepest)
    put(groups, deepest, pid)
    assert groups.processes(PATH) == [pid]
    groups.kill(PATH)
    groups.remove(PATH)
    assert not groups.exists(PATH)


def gives_a_group_to_a_user(groups: Groups, pid: int) -> None:
    groups.create(PATH)
    groups.delegate(PATH, 1000)
    groups.set(PATH, Limits(pids=20))


SUITE = [
    makes_parents_and_is_idempotent,
    removes_with_what_the_container_made_below,
    finds_and_kills_what_was_attached,
    grants_limits_it_has_means_for,
    says_what_it_cannot_grant,
    freezes_and_kills_what_is_frozen,
    a_group_that_is_gone_is_empty,
    refuses_paths_that_lead_elsewhere,
    attaches_below,
    reaches_groups_below_groups,
    takes_back_parents_that_nobody_uses,
    gives_a_group_to_a_user,
    counts_everything,
]
# For hosts that have every controller: trees in memory.
COMPLETE = [*SUITE, grants_every_limit_of_the_specification, idle_and_back]
# On v2 these load a program into the kernel: for drivers over the kernel's own tree, and v1's fake.
WITH_DEVICES = [*SUITE, device_rules_are_taken]
