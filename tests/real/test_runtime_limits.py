"""What a container is granted, what it uses, and what is left of it: limits, updates, events, groups below its own."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.cgroups_suite import put
from tests.real.bundles import COMMAND, Box, CommandLine
from tests.real.runtime_rig import V2, granted

from groundplane.kernel.cgroups import registry
from groundplane.kernel.cgroups.contract import Limits

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def box(box: Box) -> Box:
    box.process["args"] = ["sleep", "1000"]
    box.save()
    return box


def keys(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return {key for name, one in value.items() for key in keys(one, f"{path}.{name}")} or {path}


@pytest.mark.needs("runc")
def test_statistics_have_runcs_shape(box: Box, make: Callable[..., CommandLine]) -> None:
    box.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}, "cpu": {"quota": 50000}}
    box.save()
    found = []
    for command in (make("runc"), make()):
        assert command("run", "-d", "c", cwd=box.directory).returncode == 0
        done = command("events", "--stats", "c")
        event = json.loads(done.stdout)
        assert (event["type"], event["id"], len(done.stdout.splitlines())) == ("stats", "c", 1)
        data = event["data"]
        assert data["memory"]["usage"]["limit"] == 64 << 20
        assert data["pids"] == {"current": 1, "limit": 50}
        for part in ("hugetlb", "blkio"):  # runc looks on v1 alone; what was read from the disk depends on caches
            data[part] = {}
        # Counters that are left out while they are zero.
        # Pressure and v2's memory.peak (Linux ≥ 5.19) are what runc 1.1 does not know.
        seldom = (".throttling", ".memory.cache", ".memory.usage.max", ".psi.")
        found.append({key for key in keys(data) if not any(part in key for part in seldom)})
        assert command("delete", "-f", "c").returncode == 0
    assert found[0] == found[1]


_DEPENDENT = [  # which runc 1.1 forgets between two calls, so that version 2 would get other values
    ["--memory-swap", "128m"],
    ["--memory-swap", "-1"],
    ["--cpu-quota", "40000"],
    ["--cpu-period", "80000"],
]
UPDATES: list[list[str]] = [
    ["--memory", "64m"],
    ["--memory", "32m", "--memory-reservation", "16m"],
    *([] if V2 else _DEPENDENT),
    ["--cpu-share", "300"],
    ["--cpu-quota", "20000", "--cpu-period", "10000"],
    ["--cpuset-cpus", "0", "--cpuset-mems", "0"],
    ["--pids-limit", "33"],
    ["--cpu-share", "400"],
    ["--blkio-weight", "200"],
    ["--pids-limit", "-1"],
    ["--memory", "-1"],
]


@pytest.mark.needs("runc")
def test_updates_grant_what_runcs_grant_and_are_remembered(box: Box, make: Callable[..., CommandLine]) -> None:
    box.linux["resources"] |= {"pids": {"limit": 50}}
    box.save()
    histories = []
    for command in (make("runc"), make()):
        command("run", "-d", "c", cwd=box.directory)
        pid = json.loads(command("state", "c").stdout)["pid"]
        history = [granted(pid)]
        for options in UPDATES:
            done = command("update", *options, "c")
            assert done.returncode == 0, (options, done.stderr)
            history.append(granted(pid))
        document = box.directory / "resources.json"
        document.write_text(json.dumps({"cpu": {"shares": 555}, "memory": {"limit": 50 << 20}, "pids": {"limit": 9}}))
        assert command("update", "--resources", str(document), "c").returncode == 0
        history.append(granted(pid))
        histories.append(history)
        command("delete", "-f", "c")
    for options, theirs, ours in zip([[], *UPDATES, ["-r"]], *histories, strict=True):
        assert theirs == ours, options


def test_updates_that_only_we_know(box: Box, ground: CommandLine) -> None:
    ground("run", "-d", "c", cwd=box.directory)
    pid = json.loads(ground("state", "c").stdout)["pid"]
    assert ground("update", "--cpu-quota", "20000", "--cpu-burst", "5000", "c").returncode == 0
    assert granted(pid)["burst"] == "5000"
    assert ground("update", "--cpu-idle", "1", "c").returncode == 0
    assert ground("update", "--cpu-share", "300", "c").returncode == 0, "idle groups have no shares: remembered"
    assert granted(pid)["idle"] == "1"
    assert ground("update", "--cpu-idle", "0", "c").returncode == 0
    assert granted(pid)["shares"] == ("12" if V2 else "300")


def test_limits_that_depend_on_each_other_can_come_one_by_one(box: Box, ground: CommandLine) -> None:
    ground("run", "-d", "c", cwd=box.directory)
    pid = json.loads(ground("state", "c").stdout)["pid"]
    for options in (
        ["--memory", "64m"],
        ["--memory-swap", "128m"],
        ["--cpu-quota", "40000"],
        ["--cpu-period", "80000"],
    ):
        assert ground("update", *options, "c").returncode == 0
    now = granted(pid)
    if V2:
        assert (now["memory"], now["swap"], now["quota"]) == (str(64 << 20), str(64 << 20), "40000 80000")
    else:
        assert (now["memory"], now["swap"]) == (str(64 << 20), str(128 << 20))
        assert (now["quota"], now["period"]) == ("40000", "80000")


def test_an_update_from_standard_input(box: Box, ground: CommandLine) -> None:
    ground("run", "-d", "c", cwd=box.directory)
    pid = json.loads(ground("state", "c").stdout)["pid"]
    words = [*COMMAND, "--root", str(ground.root), "update", "-r", "-", "c"]
    wrong = (b'{"pids": {"limit": "x"}}', b"[]", b"{", b'"\xff"', b"[" * 100_000, b'{"pids": 1e999}')
    for text, code in ((b'{"pids": {"limit": 44}}', 0), *((text, 1) for text in wrong)):
        done = subprocess.run(words, input=text, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) == code
        assert granted(pid)["pids"] == "44"


@pytest.mark.parametrize("resources", [{}, {"cpu": {"quota": 50000, "shares": 300}, "pids": {"limit": 50}}])
def test_an_impossible_update_changes_nothing(box: Box, ground: CommandLine, resources: dict[str, Any]) -> None:
    box.linux["resources"] |= resources
    box.save()
    ground("run", "-d", "c", cwd=box.directory)
    pid = json.loads(ground("state", "c").stdout)["pid"]
    before, state = granted(pid), (ground.root / "c/state.json").read_text()
    done = ground("update", "--cpu-quota", "20000", "--cpu-share", "9", "--cpuset-cpus", "999", "c")
    assert done.returncode == 1
    assert 'failed to write \\"999\\": write /sys/fs/cgroup' in done.stderr
    assert granted(pid) == before
    assert (ground.root / "c/state.json").read_text() == state


@pytest.fixture
def stream(box: Box, ground: CommandLine) -> Iterator[subprocess.Popen[str]]:
    """`events` of a container with 24 MB of memory."""
    box.linux["resources"] |= {"memory": {"limit": 24 << 20, "swap": 24 << 20}}
    box.save()
    assert ground("run", "-d", "c", cwd=box.directory).returncode == 0
    words = [*COMMAND, "--root", str(ground.root), "events", "--interval", "100ms", "c"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def events_until(process: subprocess.Popen[str], kind: str) -> list[dict[str, Any]]:
    assert process.stdout
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != kind:
        assert select.select([process.stdout], [], [], 20)[0], f"no event of type {kind} in 20 s"
        found.append(json.loads(process.stdout.readline()))
    return found


def test_events_tell_of_memory_that_ran_out(box: Box, ground: CommandLine, stream: subprocess.Popen[str]) -> None:
    assert events_until(stream, "stats")[0]["id"] == "c"
    assert ground("exec", "c", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1").returncode == 137
    assert events_until(stream, "oom")[-1] == {"type": "oom", "id": "c"}
    assert events_until(stream, "stats")
    assert ground("delete", "--force", "c").returncode == 0
    assert stream.stdout
    stream.stdout.read()
    assert stream.wait(20) == 0, "it ends with the container"


def test_exec_into_groups_below(box: Box, ground: CommandLine) -> None:
    ground("run", "-d", "c", cwd=box.directory)
    groups = registry.detect()
    for directory in set(groups.paths_of(json.loads(ground("state", "c").stdout)["pid"]).values()):
        inner = Path(directory) / "inner"  # what the container itself could do, but for controllers on version 2
        inner.mkdir()
        if (inner / "cpuset.mem_exclusive").exists():  # version 1's are empty at first, and take no process
            for name in ("cpuset.cpus", "cpuset.mems"):
                (inner / name).write_text((Path(directory) / name).read_text())
    pid_file = box.directory / "pid"
    words = ["exec", "--detach", "--pid-file", str(pid_file)]
    assert ground(*words, "--cgroup", "/inner", "c", "sleep", "500").returncode == 0
    assert groups.processes(f"{box.cgroup}/inner") == [int(pid_file.read_text())]
    for wrong in (["--cgroup", "missing"], ["--cgroup", "../x"], ["--cgroup", "nonsense:inner"]):
        assert ground("exec", *wrong, "c", "true").returncode == 255, wrong
    if not V2:
        assert ground(*words, "--cgroup", "pids:inner", "c", "sleep", "500").returncode == 0
        places = groups.paths_of(int(pid_file.read_text()))
        assert places["pids"].endswith("/inner")
        assert places["memory"].endswith(f"/{box.cgroup}")


IMPOSSIBLE = [
    {"network": {"classID": 7}},
    {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
    {"unified": {"memory.nonsense": "1"}},
    {"memory": {"swappiness": 200}},
    {"memory": {"limit": 10 << 20, "swap": 5 << 20}},
    {"memory": {"swap": 50 << 20}},
    {"cpu": {"cpus": "999"}},
    {"cpu": {"mems": "99"}},
    {"cpu": {"quota": 10}},
    {"cpu": {"period": 10}},
    {"cpu": {"shares": 1}},
    {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 100000}},
    {"blockIO": {"leafWeight": 100}},
    {"blockIO": {"throttleReadBpsDevice": [{"major": 99, "minor": 0, "rate": 100000}]}},
    {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
]
POSSIBLE = [
    {"memory": {"limit": -1}},
    {"memory": {"reservation": 1 << 20, "kernel": 5 << 20, "kernelTCP": 5 << 20, "useHierarchy": True}},
    {"cpu": {"quota": 5000, "period": 10000, "cpus": "0", "mems": "0"}},
    {"pids": {"limit": -1}},
    {"memory": {"disableOOMKiller": False, "swappiness": 2**64 - 1}, "network": {}, "blockIO": {"weight": 0}},
]


@pytest.mark.parametrize("resources", IMPOSSIBLE, ids=json.dumps)
def test_what_cannot_be_granted_is_an_error_and_leaves_nothing(
    box: Box, ground: CommandLine, resources: dict[str, Any]
) -> None:
    box.linux["resources"] |= resources
    box.process["args"] = ["true"]
    box.save()
    done = ground("run", "c", cwd=box.directory)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert not registry.detect().exists(box.cgroup.partition("/")[0]), "not even parents"
    if shutil.which("runc") and not V2:  # on version 2 runc passes over what is version 1's
        theirs = CommandLine(box.directory / "runc", ["runc"])("run", "c", cwd=box.directory)
        assert theirs.returncode == 1


@pytest.mark.parametrize("resources", POSSIBLE, ids=json.dumps)
def test_what_can_be_granted_is(box: Box, ground: CommandLine, resources: dict[str, Any]) -> None:
    box.linux["resources"] |= resources
    box.process["args"] = ["true"]
    box.save()
    done = ground("run", "c", cwd=box.directory)
    assert done.returncode == 0, done.stderr


def test_groups_nested_without_end_are_found_killed_and_removed(box: Box) -> None:
    """A container that was given its group may nest it deeper than a path is long and than recursion goes."""
    groups = registry.detect()
    groups.create(box.cgroup)
    directory = sorted(set(groups.paths_of(os.getpid())))[0]  # any hierarchy will do
    with subprocess.Popen(["sleep", "100"]) as process:
        put(groups, box.cgroup, process.pid)
        place = groups.paths_of(process.pid)[directory]
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(1000):
            os.mkdir("nest", dir_fd=fd)
            inner = os.open("nest", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        if not V2:
            procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd)
            os.write(procs, str(process.pid).encode())
            os.close(procs)
        os.close(fd)
        assert groups.processes(box.cgroup) == [process.pid]
        groups.kill(box.cgroup)
        process.wait()
    groups.remove(box.cgroup)
    assert not groups.exists(box.cgroup)


@pytest.mark.skipif(V2, reason="there the container's own tree is threaded as a whole")
def test_a_threaded_group_does_not_hide(box: Box) -> None:
    groups = registry.detect()
    groups.create(box.cgroup)
    place = Path("/sys/fs/cgroup/unified", box.cgroup)
    (place / "threads").mkdir()
    (place / "threads/cgroup.type").write_text("threaded")
    with subprocess.Popen(["sleep", "100"]) as process:
        put(groups, box.cgroup, process.pid)
        (place / "threads/cgroup.threads").write_text(str(process.pid))
        assert groups.processes(box.cgroup) == [process.pid]
        groups.kill(box.cgroup)
        process.wait()
    groups.remove(box.cgroup)


def test_this_hosts_counters(box: Box) -> None:
    """The counters of whatever this host has, of a group with a process in it."""
    groups = registry.detect()
    groups.create(box.cgroup)
    with subprocess.Popen(["sleep", "100"]) as process:
        put(groups, box.cgroup, process.pid)
        groups.set(box.cgroup, Limits(pids=7))
        usage = groups.usage(box.cgroup)
        assert (usage.pids, usage.pids_limit) == (1, 7)
        watch = groups.watch_oom(box.cgroup)
        assert watch.wait(0.01) == 0
        groups.kill(box.cgroup)
        process.wait()
        groups.remove(box.cgroup)
        assert watch.wait(60) is None
        watch.close()


@pytest.mark.needs("pure-v2")
def test_the_containers_user_owns_its_group(box: Box, ground: CommandLine) -> None:
    """config-linux.md, "Cgroup ownership": it can make groups below, and not lift what we have set."""
    box.linux["resources"] |= {"pids": {"limit": 50}}
    box.linux["namespaces"] += (
        [] if any(n["type"] == "cgroup" for n in box.linux["namespaces"]) else [{"type": "cgroup"}]
    )
    for mount in box.config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"] = ["nosuid", "noexec", "nodev"]
    box.process["user"] = {"uid": 1000, "gid": 1000}
    script = "mkdir /sys/fs/cgroup/mine && echo 0 > /sys/fs/cgroup/mine/cgroup.procs && cat /proc/self/cgroup; "
    box.process["args"] = ["sh", "-c", script + "echo max > /sys/fs/cgroup/pids.max"]
    box.save()
    done = ground("run", "c", cwd=box.directory)
    assert done.stdout == "0::/mine\n"
    assert "Permission denied" in done.stderr
    assert done.returncode == 1


READ_ONLY = """\
for place in $(grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mountinfo); do mount -o remount,bind,ro $place || :; done
exec "$@"
"""


def test_cgroups_that_may_not_be_made_are_done_without_where_nothing_needs_them(box: Box) -> None:
    """`--rootless`: the container stays in our group, unless a limit or a path is asked for."""
    del box.linux["cgroupsPath"]
    box.process["args"] = ["cat", "/proc/self/cgroup"]
    box.without_namespace("cgroup")
    words = ["unshare", "--mount", "sh", "-c", READ_ONLY, "-", *COMMAND, "--root", str(box.directory / "state")]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        box.save()
        command = [*words, *more, "run", "c"]
        return subprocess.run(command, cwd=box.directory, capture_output=True, text=True, check=False)

    assert run("--rootless", "true").stdout == Path("/proc/self/cgroup").read_text()
    refused = run("--rootless", "false")
    assert refused.returncode == 1
    assert re.search(r"unable to apply cgroup configuration: (mkdir|write) /sys/fs/cgroup", refused.stderr)
    box.linux["resources"] = {"pids": {"limit": 5}}
    assert "cannot set pids limit: container could not join or create cgroup" in run("--rootless", "true").stderr
    box.linux["resources"] = {}
    box.linux["cgroupsPath"] = f"/{box.cgroup}"
    assert run("--rootless", "true").returncode == 1
    assert os.listdir(box.directory / "state") == []


def test_a_failed_creation_takes_no_parent_of_another_away(box: Box, ground: CommandLine) -> None:
    """Six at once below a parent that is not there yet: the three that fail take back what they made, and only that."""
    bundles = []
    for index in range(6):
        bundle = box.directory / f"bundle{index}"
        bundle.mkdir()
        box.linux["cgroupsPath"] = f"/{box.cgroup}/shared/parent/{index}"
        box.config["root"]["path"] = str(box.root)
        box.process["args"] = ["true" if index % 2 else "nosuch"]
        (bundle / "config.json").write_text(json.dumps(box.config))
        bundles.append(bundle)
    words = [*COMMAND, "--root", str(ground.root), "run"]
    for _ in range(2):
        runs = [
            subprocess.Popen([*words, f"c{index}"], cwd=bundle, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for index, bundle in enumerate(bundles)
        ]
        said = [run.communicate(timeout=120)[1].decode() for run in runs]
        assert [run.returncode for run in runs] == [1, 0] * 3, said
    registry.detect().remove(box.cgroup)
