"""The verbs that look at a container or change it while it runs, side by side with runc where it is installed."""

from __future__ import annotations

import array
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.bundles import COMMAND, Box, CommandLine

from groundplane.kernel.cgroups import registry
from groundplane.kernel.cgroups.contract import Limits

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")

V2 = registry.detect().layout == "v2" if os.path.isdir("/sys/fs/cgroup") else False


@pytest.fixture
def box() -> Iterator[Box]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    box = Box(directory)
    box.linux["cgroupsPath"] = f"/{box.cgroup}"
    box.process["args"] = ["sleep", "1000"]
    box.save()
    try:
        yield box
        assert box.leftovers() == []
    finally:
        groups = registry.detect()
        groups.kill(box.cgroup)
        groups.remove(box.cgroup.partition("/")[0])
        shutil.rmtree(directory)


@pytest.fixture
def make(box: Box) -> Iterator[Callable[..., CommandLine]]:
    """Command lines with roots of their own; their containers are deleted behind the test."""
    made: list[CommandLine] = []

    def one(*program: str) -> CommandLine:
        made.append(CommandLine(box.directory / f"state{len(made)}", list(program) or COMMAND))
        return made[-1]

    yield one
    for command in made:
        for id in command("list", "-q").stdout.split():
            command("delete", "--force", id)


@pytest.fixture
def ground(make: Callable[..., CommandLine]) -> CommandLine:
    return make()


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of the log without its time, in the words of one program."""
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    return line.partition("level=")[2].replace("ground-runtime", "runc").replace("\\n", "")


def answers(command: CommandLine, box: Box, script: list[list[str]]) -> list[tuple[str, int, str]]:
    results = []
    for words in script:
        done = command(*words, cwd=box.directory)
        results.append((" ".join(words), done.returncode, sentence(done)))
    return results


def wait_until_stopped(command: CommandLine, id: str) -> None:
    while json.loads(command("state", id).stdout)["status"] != "stopped":
        pass


BEFORE = [
    "create c",
    "pause c",
    "start c",
    "delete c",
    "resume c",
    "resume c",
    "start c",
    "ps -f xml c",
    "list -f xml",
    "pause c",
    "pause c",
    "exec c true",
    "update --memory 100M c",
    "update --cpu-period x c",
    "update --memory 5y c",
    "update --l3-cache-schema x c",
    "update -r /no/such/file c",
    "events --interval 0 c",
    "kill c FOO",
    "create c",
    "kill c KILL",
]
AFTER = [
    "ps c",
    "pause c",
    "resume c",
    "update --memory 50M c",
    "events --stats c",
    "events c",
    "start c",
    "kill c",
    "exec c true",
    "delete c",
    *(f"{verb} c" for verb in ("ps", "pause", "resume", "update", "events", "state", "start", "kill", "delete")),
    "exec c true",
    "delete --force c",
    "ps a/b",
]


@pytest.mark.needs("runc", "ps")
def test_a_life_with_all_its_refusals_is_runcs(box: Box, make: Callable[..., CommandLine]) -> None:
    lives = []
    for command in (make("runc"), make()):
        life = answers(command, box, [words.split() for words in BEFORE])
        wait_until_stopped(command, "c")
        lives.append(life + answers(command, box, [words.split() for words in AFTER]))
    assert lives[0] == lives[1]


MISUSE = [
    "create",
    "create a b",
    "create --nope x",
    "run --preserve-fds x y",
    "frob",
    "state",
    "kill",
    "kill a b c",
    "list x",
    "ps",
    "exec",
    "update",
    "spec x",
    "help frob",
    "start",
    "events --interval abc x",
    "events x",
    "features x",
    "pause",
    "delete --force=perhaps x",
    "restore",
    "checkpoint x",
    "list --format",
]


@pytest.mark.needs("runc")
def test_wrong_words_are_answered_as_runc_answers(box: Box, make: Callable[..., CommandLine]) -> None:
    commands = make("runc"), make()
    for words in MISUSE:
        theirs, ours = (command(*words.split()) for command in commands)
        assert (ours.returncode, sentence(ours)) == (theirs.returncode, sentence(theirs)), words
        assert ours.stdout.partition("\n")[0] == theirs.stdout.partition("\n")[0], words
        assert ("NAME:" in ours.stdout) == ("NAME:" in theirs.stdout), words
    for words in (["--log-format", "xml", "list"], ["--log", "/no/such/file", "list"], ["--root", "x", "state", "y"]):
        done = [subprocess.run([*p, *words], capture_output=True, text=True, check=False) for p in (["runc"], COMMAND)]
        assert (done[1].returncode, sentence(done[1])) == (done[0].returncode, sentence(done[0])), words


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


@pytest.mark.needs("runc", "ps")
def test_ps(box: Box, make: Callable[..., CommandLine]) -> None:
    shapes = []
    for command in (make("runc"), make()):
        command("run", "-d", "c", cwd=box.directory)
        pids = json.loads(command("ps", "--format", "json", "c").stdout)
        assert pids == [json.loads(command("state", "c").stdout)["pid"]]
        table = command("ps", "c").stdout.splitlines()
        assert [line.split()[1] for line in table[1:]] == [str(pids[0])]
        chosen = command("ps", "c", "-o", "pid,args").stdout.splitlines()
        assert chosen[1].split() == [str(pids[0]), "sleep", "1000"]
        wrong = command("ps", "c", "-o", "args")
        shapes.append((table[0], chosen[0], wrong.returncode, sentence(wrong)))
        command("kill", "c", "KILL")
        wait_until_stopped(command, "c")
        shapes[-1] += (command("ps", "c").stdout, command("ps", "-f", "json", "c").stdout)
        command("delete", "c")
    assert shapes[0] == shapes[1]


FILES = {
    "memory": ("memory", "memory.limit_in_bytes", "memory.max"),
    "swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "reservation": ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    "shares": ("cpu", "cpu.shares", "cpu.weight"),
    "quota": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    "period": ("cpu", "cpu.cfs_period_us", "cpu.max"),
    "burst": ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
    "idle": ("cpu", "cpu.idle", "cpu.idle"),
    "cpus": ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    "mems": ("cpuset", "cpuset.mems", "cpuset.mems"),
    "pids": ("pids", "pids.max", "pids.max"),
    "io": ("blkio", "blkio.bfq.weight", "io.weight"),
}


def granted(pid: int) -> dict[str, str]:
    """What the group of a process grants, whichever layout this is."""
    places = registry.detect().paths_of(pid)
    files = {}
    for name, (controller, v1, v2) in FILES.items():
        directory = places.get(controller) or places.get("", "")
        path = Path(directory) / (v1 if controller in places else v2)
        files[name] = path.read_text().strip() if path.exists() else ""
    return files


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
    for text, code in (('{"pids": {"limit": 44}}', 0), ('{"pids": {"limit": "x"}}', 1), ("[]", 1), ("{", 1)):
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
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


@pytest.mark.needs("runc")
def test_features_have_runcs_shape(ground: CommandLine) -> None:
    theirs = json.loads(subprocess.run(["runc", "features"], capture_output=True, check=True).stdout)
    ours = json.loads(ground("features").stdout)
    assert set(theirs) <= set(ours)
    assert set(theirs["linux"]) <= set(ours["linux"])
    assert ours["hooks"] == theirs["hooks"]
    assert set(theirs["mountOptions"]) <= set(ours["mountOptions"])
    assert set(theirs["linux"]["namespaces"]) <= set(ours["linux"]["namespaces"])
    assert ours["linux"]["capabilities"] == theirs["linux"]["capabilities"]
    for name in ("actions", "operators"):
        assert ours["linux"]["seccomp"][name] == theirs["linux"]["seccomp"][name]


def test_a_paused_container_can_be_killed_and_deleted(box: Box, ground: CommandLine) -> None:
    ground("run", "-d", "c", cwd=box.directory)
    assert ground("pause", "c").returncode == 0
    assert json.loads(ground("list", "-f", "json").stdout)[0]["status"] == "paused"
    assert ground("kill", "c", "KILL").returncode == 0
    wait_until_stopped(ground, "c")
    assert ground("delete", "c").returncode == 0
    ground("run", "-d", "c", cwd=box.directory)
    assert ground("pause", "c").returncode == 0
    assert sentence(ground("delete", "c")) == 'error msg="cannot delete container c that is not stopped: paused"'
    assert ground("delete", "--force", "c").returncode == 0


def test_without_a_pid_namespace_sigkill_ends_everything(box: Box, ground: CommandLine) -> None:
    box.without_namespace("pid")
    box.process["args"] = ["sh", "-c", "sleep 1000 & sleep 1001 & wait"]
    box.save()
    ground("run", "-d", "c", cwd=box.directory)
    groups = registry.detect()
    while len(groups.processes(box.cgroup)) < 3:
        pass
    assert ground("kill", "c", "KILL").returncode == 0
    while groups.processes(box.cgroup):
        pass
    assert sentence(ground("kill", "c", "KILL")) == 'error msg="container not running"'


def test_without_a_pid_namespace_what_outlives_init_can_be_killed(box: Box, ground: CommandLine) -> None:
    box.without_namespace("pid")
    box.process["args"] = ["sh", "-c", "sleep 1000 & true"]
    box.save()
    assert ground("run", "-d", "c", cwd=box.directory).returncode == 0
    wait_until_stopped(ground, "c")
    groups = registry.detect()
    assert len(groups.processes(box.cgroup)) == 1
    assert sentence(ground("kill", "c", "TERM")) == 'error msg="container not running"'
    assert ground("kill", "c", "KILL").returncode == 0
    while groups.processes(box.cgroup):
        pass
    assert ground("delete", "c").returncode == 0


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


def test_a_pidfd_for_who_asks(box: Box, ground: CommandLine) -> None:
    path = box.directory / "pidfd"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert ground("run", "-d", "--pidfd-socket", str(path), "c", cwd=box.directory).returncode == 0
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2])
    info = Path(f"/proc/self/fdinfo/{descriptors[0]}").read_text()
    os.close(descriptors[0])
    assert f"Pid:\t{json.loads(ground('state', 'c').stdout)['pid']}\n" in info


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


def test_a_program_of_no_known_format_leaves_nothing(box: Box, ground: CommandLine) -> None:
    box.write("/bin/garbage", "\x01\x02\x03")
    box.process["args"] = ["/bin/garbage"]
    box.save()
    assert ground("run", "c", cwd=box.directory).returncode == 1
    assert not registry.detect().exists(box.cgroup)
    assert ground("list", "-q").stdout == ""


def test_what_is_not_offered_says_why(box: Box, ground: CommandLine) -> None:
    ground("run", "-d", "c", cwd=box.directory)
    assert "checkpoint is not available: it needs CRIU" in ground("checkpoint", "--leave-running", "c").stderr
    assert "restore is not available: it needs CRIU" in ground("restore", "--image-path", "/tmp", "other").stderr
    assert "container with given ID already exists" in ground("restore", "c").stderr
    done = ground("--systemd-cgroup", "run", "other", cwd=box.directory)
    assert done.returncode == 1
    assert "systemd" in sentence(done)


def test_a_user_has_a_root_below_the_runtime_directory(box: Box) -> None:
    runtime = box.directory / "xdg"
    runtime.mkdir(mode=0o777)
    runtime.chmod(0o777)
    environment = {"XDG_RUNTIME_DIR": str(runtime), "PYTHONDONTWRITEBYTECODE": "1"}
    source = Path(registry.__file__).parents[3]
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *COMMAND, "list", "-q"]
    done = subprocess.run(words, env={**environment, "PYTHONPATH": str(source)}, cwd="/", capture_output=True)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert (runtime / "ground-runtime").stat().st_mode & 0o7777 == 0o1700


def test_groups_nested_without_end_are_found_killed_and_removed(box: Box) -> None:
    """A container that was given its group may nest it deeper than a path is long and than recursion goes."""
    groups = registry.detect()
    groups.create(box.cgroup)
    directory = sorted(set(groups.paths_of(os.getpid())))[0]  # any hierarchy will do
    with subprocess.Popen(["sleep", "100"]) as process:
        groups.attach(box.cgroup, process.pid)
        place = groups.paths_of(process.pid)[directory]
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(1200):
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
        groups.attach(box.cgroup, process.pid)
        (place / "threads/cgroup.threads").write_text(str(process.pid))
        assert groups.processes(box.cgroup) == [process.pid]
        groups.kill(box.cgroup)
        process.wait()
    groups.remove(box.cgroup)


def test_version_two_counts_and_freezes_too(box: Box) -> None:
    """The counters of whatever this host has, of a group with a process in it."""
    groups = registry.detect()
    groups.create(box.cgroup)
    with subprocess.Popen(["sleep", "100"]) as process:
        groups.attach(box.cgroup, process.pid)
        groups.set(box.cgroup, Limits(pids=7))
        usage = groups.usage(box.cgroup)
        assert (usage.pids, usage.pids_limit) == (1, 7)
        watch = groups.watch_oom(box.cgroup)
        assert watch.wait(0.01) == 0
        groups.kill(box.cgroup)
        process.wait()
        groups.remove(box.cgroup)
        assert watch.wait(5) is None
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
    assert "unable to apply cgroup configuration: mkdir /sys/fs/cgroup" in refused.stderr
    box.linux["resources"] = {"pids": {"limit": 5}}
    assert "cannot set pids limit: container could not join or create cgroup" in run("--rootless", "true").stderr
    box.linux["resources"] = {}
    box.linux["cgroupsPath"] = f"/{box.cgroup}"
    assert run("--rootless", "true").returncode == 1
    assert os.listdir(box.directory / "state") == []
