"""What only a host with all controllers on version 2 can show; tests/guest boots one where this host is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contracts.cgroups_suite import put
from tests.real.bundles import Box, Streams, reap

from groundplane.kernel.calls.process import clone3
from groundplane.kernel.cgroups import registry
from groundplane.kernel.cgroups.contract import DeviceRule, Groups, Limits
from groundplane.kernel.cgroups.v2 import V2
from groundplane.kernel.errors import KernelError
from groundplane.runtime.beside import exec_process
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "pure-v2", "busybox")

_NOTHING = DeviceRule(allow=False, kind="a", major=None, minor=None, access="rwm")


def null(access: str, *, allow: bool = True) -> DeviceRule:
    return DeviceRule(allow=allow, kind="c", major=1, minor=3, access=access)


@pytest.fixture
def groups() -> Groups:
    return registry.detect()


@pytest.fixture
def group(groups: Groups) -> Iterator[str]:
    path = f"ground-test-{os.getpid()}/parent/child"
    groups.create(path)
    yield path
    groups.kill(path)
    groups.remove(path.partition("/")[0])


def file(path: str, name: str) -> Path:
    return Path("/sys/fs/cgroup", path, name)


def born_in(groups: Groups, path: str, work: Callable[[], int]) -> int:
    """What `work` returns in a process that the kernel made in that group."""
    directory = os.open(groups.entrance(path).directory, os.O_PATH | os.O_CLOEXEC)
    try:
        pid, pidfd = clone3(0, cgroup_fd=directory)
    finally:
        os.close(directory)
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opens(flags: int) -> int:
    """0 if /dev/null opens so, else the errno."""
    try:
        os.close(os.open("/dev/null", flags))
    except OSError as error:
        return error.errno
    return 0


def test_the_driver_is_the_one_for_v2(groups: Groups) -> None:
    assert isinstance(groups, V2)
    assert groups.layout == "v2"


def test_a_process_is_born_in_its_group(groups: Groups, group: str) -> None:
    expected = f"0::/{group}\n"
    assert born_in(groups, group, lambda: int(Path("/proc/self/cgroup").read_text() != expected)) == 0


def test_device_rules_decide_by_access_and_the_last_one_wins(groups: Groups, group: str) -> None:
    reads, writes = (lambda: opens(os.O_RDONLY)), (lambda: opens(os.O_WRONLY))
    assert born_in(groups, group, writes) == 0
    groups.set(group, Limits(devices=[_NOTHING, null("r")]))
    assert (born_in(groups, group, reads), born_in(groups, group, writes)) == (0, 1)
    groups.set(group, Limits(devices=[_NOTHING, null("rw"), null("r", allow=False)]))
    assert (born_in(groups, group, reads), born_in(groups, group, writes)) == (1, 0)
    groups.set(group, Limits(devices=[_NOTHING]))
    assert (born_in(groups, group, reads), born_in(groups, group, writes)) == (1, 1)
    groups.set(group, Limits(devices=[_NOTHING, null("rwm")]))  # the ones before are gone, not added to
    assert (born_in(groups, group, reads), born_in(groups, group, writes)) == (0, 0)


def test_a_group_cannot_have_more_devices_than_its_parent(groups: Groups, group: str) -> None:
    groups.set(group.rpartition("/")[0], Limits(devices=[_NOTHING]))
    groups.set(group, Limits(devices=[_NOTHING, null("rwm")]))
    assert born_in(groups, group, lambda: opens(os.O_RDONLY)) == 1


def test_a_frozen_process_stands_still(groups: Groups, group: str) -> None:
    ours, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        while os.write(its, b"."):
            pass
    os.close(its)
    try:
        put(groups, group, pid)
        assert os.read(ours, 1) == b"."
        groups.freeze(group)
        assert groups.frozen(group)
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):  # a pipe that nobody fills any more comes to its end
            while os.read(ours, 65536):
                pass
        groups.thaw(group)
        os.set_blocking(ours, True)
        assert os.read(ours, 1) == b"."
        groups.freeze(group)
        groups.kill(group)  # SIGKILL ends also what is frozen
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    finally:
        os.close(ours)


def test_want_of_memory_is_told_at_once(groups: Groups, group: str) -> None:
    groups.set(group, Limits(memory=16 << 20, memory_swap=16 << 20))
    watch = groups.watch_oom(group)
    try:
        assert watch.wait(0) is None  # nobody is in it
        assert born_in(groups, group, lambda: len(bytearray(b"x") * (64 << 20)) & 1) == -9
        assert groups.oom_count(group) == 1
        assert watch.wait(10) == 1
    finally:
        watch.close()


def test_limits_are_written_in_v2_s_units(groups: Groups, group: str) -> None:
    granted = Limits(memory=64 << 20, memory_swap=96 << 20, memory_reservation=32 << 20, pids=9, cpu_shares=1024)
    assert groups.set(group, granted) == []
    assert groups.set(group, Limits(cpu_quota=25000, cpu_period=50000, cpuset_cpus="0", blkio_weight=500)) == []
    names = ("memory.max", "memory.swap.max", "memory.low", "pids.max", "cpu.weight", "cpu.max", "cpuset.cpus")
    values = [file(group, name).read_text().strip() for name in names]
    assert values == [str(64 << 20), str(32 << 20), str(32 << 20), "9", "39", "25000 50000", "0"]


def test_unified_keys_are_written_as_they_are(box: Box) -> None:
    box.linux["resources"]["unified"] = {"memory.high": "33554432", "cpu.weight": "77"}
    assert box.run("cat", "/sys/fs/cgroup/memory.high", "/sys/fs/cgroup/cpu.weight").lines == ["33554432", "77"]


@pytest.mark.parametrize("key", ["memory.nosuch", "../cgroup.procs", "nosuch.max"])
def test_a_unified_key_without_file_is_an_error(box: Box, key: str) -> None:
    box.linux["resources"]["unified"] = {key: "1"}
    with pytest.raises(LaunchError):
        box.run("true")


def test_what_v2_has_no_means_for_is_an_error(box: Box) -> None:
    box.linux["resources"]["network"] = {"classID": 7}
    with pytest.raises(LaunchError, match="v2"):
        box.run("true")


def test_the_container_sees_its_own_group_only(box: Box) -> None:
    box.linux["resources"]["memory"] = {"limit": 32 << 20}
    script = (
        "cat /proc/self/cgroup /sys/fs/cgroup/memory.max; cat /sys/fs/cgroup/cgroup.procs; grep cgroup /proc/mounts"
    )
    lines = box.run(script=script).lines
    assert lines[:2] == ["0::/", str(32 << 20)]
    assert lines[2] == "1"
    assert lines[-1].startswith("cgroup2 /sys/fs/cgroup cgroup2 ro,")


def test_without_a_namespace_its_group_is_bound(box: Box) -> None:
    box.without_namespace("cgroup")
    box.linux["resources"]["pids"] = {"limit": 17}
    lines = box.run(script="cat /proc/self/cgroup /sys/fs/cgroup/pids.max; ls -d /sys/fs/cgroup/*/").lines
    assert lines[:2] == [f"0::/{box.cgroup}", "17"]


def writable(box: Box) -> None:
    """Mount the groups read-write, as engines do for a privileged container."""
    mount = next(m for m in box.config["mounts"] if m["type"] == "cgroup")
    mount["options"] = [o for o in mount["options"] if o != "ro"]


_SPLIT = "mkdir /sys/fs/cgroup/inner && echo 1 > /sys/fs/cgroup/inner/cgroup.procs"
_PASS_ON = "echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control"


def test_a_container_that_manages_groups_itself(box: Box) -> None:
    writable(box)
    script = (
        f"{_SPLIT} && {_PASS_ON} && mkdir /sys/fs/cgroup/x && echo 9 > /sys/fs/cgroup/x/pids.max && cat /proc/1/cgroup"
    )
    assert box.run(script=script).lines == ["0::/inner"]


def test_exec_beside_an_init_that_passed_its_controllers_on(box: Box) -> None:
    writable(box)
    box.process["args"] = ["sh", "-c", f"{_SPLIT} && {_PASS_ON} && echo ready && exec sleep 100"]
    with Streams() as streams:
        created = box.create(streams.child)
        created.start()
        assert os.read(streams._read, 100) == b"ready\n"
        process = {**box.process, "args": ["cat", "/proc/self/cgroup"]}
        beside = exec_process(created.pid, process, stdio=streams.child, cgroup=box.cgroup)
        beside.start()
        assert reap(beside) == 0
        assert os.read(streams._read, 100) == b"0::/inner\n"
        os.kill(created.pid, 9)
        assert reap(created) == -9
    box.delete()


def test_a_group_with_processes_cannot_pass_controllers_on(groups: Groups, group: str) -> None:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "100"])
    put(groups, group, pid)
    try:
        with pytest.raises(KernelError, match="processes live in this group itself"):
            groups.create(f"{group}/below")
    finally:
        groups.kill(group)
        os.waitpid(pid, 0)
