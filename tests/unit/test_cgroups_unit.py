"""Control groups: detection of layouts, conversions, orders of writes, cleaning up after a failure."""

from __future__ import annotations

import errno

import pytest
from tests.contracts.cgroups_suite import put
from tests.fakes.cgroup_tree import FakeTree

from groundplane.kernel.cgroups.contract import DeviceRule, Limits
from groundplane.kernel.cgroups.device_program import compile_rules
from groundplane.kernel.cgroups.registry import choose
from groundplane.kernel.cgroups.v1 import V1, Hierarchy
from groundplane.kernel.cgroups.v2 import V2
from groundplane.kernel.cgroups.v2_limits import cpu_weight, io_weight
from groundplane.kernel.errors import KernelError

V1_MOUNTS = """\
31 23 0:28 / /none rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /none/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /none/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /none/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
"""
V2_LINE = "41 31 0:38 / /none/unified rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
SYSTEMD_LINE = V1_MOUNTS.splitlines()[3] + "\n"
BORN = "4:memory:/mine\n1:name=systemd:/mine\n0::/mine\n"


@pytest.mark.parametrize(
    ("mounts", "layout"),
    [(V1_MOUNTS, "v1"), (V2_LINE, "v2"), (V1_MOUNTS + V2_LINE, "hybrid"), (SYSTEMD_LINE + V2_LINE, "v2")],
)
def test_the_layout_follows_from_the_mounts(mounts: str, layout: str) -> None:
    assert choose(mounts, BORN).layout == layout


def test_no_cgroups_is_one_sentence() -> None:
    with pytest.raises(KernelError, match="no cgroup file system is mounted"):
        choose("31 23 0:28 / /x rw - tmpfs tmpfs rw", BORN)


def test_controllers_of_one_hierarchy_are_one_view_with_links() -> None:
    views = choose(V1_MOUNTS, BORN).views("a/b")
    assert [(v.name, v.options, v.links) for v in views] == [
        ("cpu,cpuacct", ("cpu", "cpuacct"), ("cpu", "cpuacct")),
        ("memory", ("memory",), ()),
        ("systemd", ("none", "name=systemd"), ()),
    ]
    assert views[0].directory == "/none/cpu,cpuacct/a/b"


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (10**9, 10000)])
def test_shares_become_weights_as_runc_converts(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_io_weights() -> None:
    assert (io_weight(10), io_weight(1000)) == (1, 10000)


def memory_driver() -> tuple[V1, FakeTree]:
    tree = FakeTree()
    driver = V1([Hierarchy(("memory",), tree.mount("/m", 1, "memory"))], tree)
    driver.create("a")
    return driver, tree


@pytest.mark.parametrize("first", [1 << 20, 1 << 30])
@pytest.mark.parametrize("second", [1 << 20, 1 << 30, -1])
def test_memory_and_swap_go_in_the_order_that_the_kernel_takes(first: int, second: int) -> None:
    driver, _ = memory_driver()
    driver.set("a", Limits(memory=first, memory_swap=2 * first))
    driver.set("a", Limits(memory=second, memory_swap=2 * second if second > 0 else -1))
    assert driver.stats("a").memory_limit == (None if second == -1 else second)


def test_v2_swap_is_without_memory() -> None:
    tree = FakeTree()
    driver = V2(tree.mount("/c", 2, "memory"), tree)
    driver.create("a")
    driver.set("a", Limits(memory=100, memory_swap=150))
    assert (tree.files["/c/a/memory.max"], tree.files["/c/a/memory.swap.max"]) == ("100", "50")
    with pytest.raises(KernelError, match="should be >= memory limit"):
        driver.set("a", Limits(memory=100, memory_swap=50))


def test_a_failed_create_leaves_nothing() -> None:
    tree = FakeTree()
    tree.mount("/m", 1, "memory")
    driver = V1([Hierarchy(("memory",), "/m"), Hierarchy(("pids",), "/not-mounted")], tree)
    with pytest.raises(KernelError):
        driver.create("a/b")
    assert tree.directories == {"/m"}


def test_v2_parents_with_processes_say_why() -> None:
    tree = FakeTree()
    driver = V2(tree.mount("/c", 2, "memory"), tree)
    driver.create("a")
    put(driver, "a", 7)
    with pytest.raises(KernelError, match="processes live in this group itself"):
        driver.create("a/b")


def test_removal_waits_for_the_dying_and_gives_up_on_the_living() -> None:
    driver, tree = memory_driver()
    put(driver, "a", 7)
    driver.kill("a")
    driver.remove("a")
    assert 0 < tree.paused < 0.01
    driver.create("b")
    put(driver, "b", 8)
    with pytest.raises(KernelError) as caught:
        driver.remove("b")
    assert caught.value.errno == errno.EBUSY
    assert tree.paused > 1


def test_v1_device_rules_replace_all() -> None:
    tree = FakeTree()
    driver = V1([Hierarchy(("devices",), tree.mount("/d", 1, "devices"))], tree)
    driver.create("a")
    rule = DeviceRule(allow=True, kind="c", major=136, minor=None, access="rwm")
    everything = DeviceRule(allow=False, kind="a", major=None, minor=None, access="rwm")
    driver.set("a", Limits(devices=[everything, rule]))
    assert tree.writes == [("/d/a/devices.deny", "a"), ("/d/a/devices.allow", "c 136:* rwm")]


def test_no_devices_controller_is_an_error_not_a_degradation() -> None:
    driver, _ = memory_driver()
    with pytest.raises(KernelError, match="devices controller is not mounted"):
        driver.set("a", Limits(devices=[]))


def test_the_device_program_ends_where_a_rule_always_answers() -> None:
    everything = DeviceRule(allow=False, kind="a", major=None, minor=None, access="rwm")
    one = DeviceRule(allow=True, kind="c", major=1, minor=3, access="rw")
    with_default = compile_rules([one])
    without = compile_rules([everything, one])
    assert len(with_default) == len(without), "deny-all's answer takes the place of the default"
    assert without[-8] == 0x95, "the last instruction is exit"


def test_a_cpuset_that_another_has_just_made_is_filled_too() -> None:
    tree = FakeTree()
    driver = V1([Hierarchy(("cpuset",), tree.mount("/s", 1, "cpuset"))], tree)
    tree.make("/s/a")  # the other one has not come to write its CPUs yet
    driver.create("a/b")
    put(driver, "a/b", 7)
    assert tree.files["/s/a/cpuset.cpus"] == tree.files["/s/a/b/cpuset.cpus"] == "0-1"
