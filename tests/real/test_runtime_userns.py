"""User namespaces: joined with other namespaces, made by somebody who is not root, mapped by helpers."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.bundles import Box, CommandLine, Streams, reap

from groundplane import runtime
from groundplane.runtime.beside import exec_process
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")

USER = 1000


def own(box: Box, uid: int) -> None:
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


@pytest.fixture
def holder(box: Box) -> Iterator[int]:
    """A process in a user namespace of its own, with network, UTS, IPC and PID namespaces that belong to it."""
    own(box, 100000)
    outer = subprocess.Popen(["unshare", "--user", "--net", "--uts", "--ipc", "--pid", "--fork", "sleep", "60"])
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while not (pids := children.read_text().split()):
        assert outer.poll() is None
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pids[0]}/{name}").write_text("0 100000 65536\n")
    yield int(pids[0])
    subprocess.run(["kill", "-9", pids[0]], check=False)
    outer.kill()
    outer.wait()


LOOK = "id -u; cat /proc/self/uid_map; for n in user net uts ipc pid mnt; do readlink /proc/self/ns/$n; done"


def test_a_user_namespace_by_path_and_others_made_in_it(box: Box, holder: int) -> None:
    """What is new belongs to the namespace joined: else proc could not be mounted, nor the host name be set."""
    box.namespace("user", f"/proc/{holder}/ns/user")
    box.config["hostname"] = "joined"
    out = box.run(script=f"{LOOK}; hostname; ls /proc | grep -c '^[0-9]'").lines
    assert out[0] == "0"
    assert out[1].split() == ["0", "100000", "65536"]
    assert out[2] == os.readlink(f"/proc/{holder}/ns/user")
    theirs = [os.readlink(f"/proc/{holder}/ns/{n}") for n in ("net", "uts", "ipc", "pid", "mnt")]
    ours = [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "uts", "ipc", "pid", "mnt")]
    assert not set(out[3:8]) & {*theirs, *ours}
    assert out[8] == "joined"
    assert int(out[9]) <= 5, "the PID namespace is new"


def test_all_namespaces_of_another_by_path(box: Box, holder: int) -> None:
    """The user namespace first, or nothing of the rest could be entered; PID for children only."""
    names = {"user": "user", "network": "net", "uts": "uts", "ipc": "ipc", "pid": "pid"}
    for kind, name in names.items():
        box.namespace(kind, f"/proc/{holder}/ns/{name}")
    del box.config["hostname"]
    out = box.run(script=LOOK).lines
    assert out[2:7] == [os.readlink(f"/proc/{holder}/ns/{n}") for n in ("user", "net", "uts", "ipc", "pid")]


def test_a_process_beside_init_of_a_joined_namespace(box: Box, holder: int) -> None:
    box.namespace("user", f"/proc/{holder}/ns/user")
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    try:
        with Streams() as streams:
            process = {**box.process, "args": ["sh", "-c", LOOK]}
            beside = exec_process(created.pid, process, stdio=streams.child, cgroup=box.cgroup)
            beside.start()
            lines = streams.read().splitlines()
            assert reap(beside) == 0
        names = ("user", "net", "uts", "ipc", "pid", "mnt")
        assert lines[2:] == [os.readlink(f"/proc/{created.pid}/ns/{n}") for n in names]
        assert os.readlink("/proc/self/ns/pid_for_children") == os.readlink("/proc/self/ns/pid")
    finally:
        os.kill(created.pid, 9)
        reap(created)
        box.delete()


@pytest.mark.parametrize(("kind", "name"), [("user", "net"), ("network", "uts"), ("pid", "ipc"), ("mount", "net")])
def test_a_path_of_another_kind_is_an_error(box: Box, kind: str, name: str) -> None:
    """config-linux.md, "Namespaces": the runtime MUST generate an error."""
    box.namespace(kind, f"/proc/self/ns/{name}")
    with pytest.raises(LaunchError, match=f"setns /proc/self/ns/{name}: invalid argument"):
        box.create()


def test_our_own_user_namespace_cannot_be_joined(box: Box) -> None:
    box.namespace("user", "/proc/self/ns/user")
    with pytest.raises(LaunchError, match="setns /proc/self/ns/user: invalid argument"):
        box.create()


def test_all_capabilities_are_there_in_a_user_namespace(box: Box) -> None:
    """Also those that this host lacks: they are over what belongs to the namespace (user_namespaces(7))."""
    own(box, 100000)
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for kind in ("bounding", "permitted", "effective"):
        box.process["capabilities"][kind] = ["CAP_SYS_RESOURCE", "CAP_KILL"]
    result = box.run("grep", "CapEff", "/proc/self/status")
    assert int(result.out.split()[1], 16) == 1 << 24 | 1 << 5
    assert result.warnings == ()


def test_mappings_that_the_kernel_refuses_are_one_sentence(box: Box) -> None:
    box.namespace("user")
    twice = [{"containerID": 0, "hostID": 1, "size": 2}, {"containerID": 1, "hostID": 9, "size": 2}]
    box.linux["uidMappings"] = box.linux["gidMappings"] = twice
    with pytest.raises(LaunchError, match=r"write /proc/\d+/uid_map: invalid argument"):
        box.create()


# Without root.


def interpreter() -> str:
    """A Python that other users can execute, with what the runtime needs: the standard library."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        words = ["setpriv", f"--reuid={USER}", "--clear-groups", "sh", "-c"]
        look = f"{candidate} -c 'import sys, ctypes, struct; sys.exit(sys.version_info < (3, 11))'"
        if subprocess.run([*words, look], capture_output=True, check=False).returncode == 0:
            return candidate
    return ""


class User(CommandLine):
    """`ground-runtime` as an ordinary user."""

    def __init__(self, root: Path, source: Path, *prefix: str) -> None:
        words = [*prefix, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env"]
        words += [f"PYTHONPATH={source}", "PYTHONDONTWRITEBYTECODE=1", "GROUND_TEST=1"]
        super().__init__(root, [*words, interpreter(), "-m", "groundplane.runtime.main"])


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    """Where the package is that an ordinary user may read: a copy, because this checkout may lie in a private home."""
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    try:
        package = Path(runtime.__file__).parents[1]
        subprocess.run(["cp", "--recursive", "--preserve=timestamps", package, directory], check=True)
        subprocess.run(["chmod", "--recursive", "a+rX", directory], check=True)
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def user(rootless: Box, source: Path) -> User:
    """The runtime for that bundle, with a root of its own."""
    return User(rootless.directory / "state", source)


@pytest.fixture
def rootless(box: Box) -> Box:
    """A bundle of a user's: one id mapped, its own."""
    if not interpreter():
        pytest.skip("no Python 3.11 that an ordinary user may execute")
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": USER, "size": 1}]
    box.linux["resources"] = {}
    del box.linux["cgroupsPath"]
    for mount in box.config["mounts"]:
        mount["options"] = [option for option in mount.get("options", []) if option != "gid=5"]
    own(box, USER)
    os.chown(box.directory, USER, USER)
    box.save()
    return box


def test_a_container_of_an_ordinary_user(rootless: Box, user: User) -> None:
    script = (
        "id -u; cat /proc/self/uid_map /proc/self/setgroups; echo x > /dev/null; hostname; cat /proc/self/oom_score_adj"
    )
    rootless.process["args"] = ["sh", "-c", script]
    rootless.process["oomScoreAdj"] = 300
    rootless.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    rootless.save()
    done = user("run", "u", cwd=rootless.directory)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "0"
    assert lines[1].split() == ["0", str(USER), "1"]
    assert lines[2:] == ["deny", "ground", "300"]
    assert os.listdir(rootless.directory / "state") == []


def test_a_life_of_an_ordinary_users_container(rootless: Box, user: User) -> None:
    rootless.process["args"] = ["sleep", "60"]
    rootless.save()
    assert user("create", "u", cwd=rootless.directory).returncode == 0
    try:
        pid = json.loads(user("state", "u").stdout)["pid"]
        assert Path(f"/proc/{pid}").stat().st_uid in (0, USER)
        early = user("exec", "u", "true")
        assert (early.returncode, len(early.stderr.splitlines())) == (255, 1)
        assert f"no right to enter the namespaces of process {pid} (before start only root has)" in early.stderr
        assert user("start", "u").returncode == 0
        done = user("exec", "u", "sh", "-c", "id -u; readlink /proc/self/ns/user; readlink /proc/self/ns/pid")
        names = [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("user", "pid")]
        assert done.stdout.splitlines() == ["0", *names], done.stderr
        assert user("kill", "u", "KILL").returncode == 0
    finally:
        assert user("delete", "--force", "u").returncode == 0
    assert os.listdir(rootless.directory / "state") == []


def test_kill_all_without_a_cgroup(rootless: Box, user: User) -> None:
    """The kernel ends what is in a PID namespace with its init; where nothing is left, --all is content."""
    rootless.process["args"] = ["sleep", "60"]
    rootless.save()
    assert user("create", "u", cwd=rootless.directory).returncode == 0
    try:
        pid = json.loads(user("state", "u").stdout)["pid"]
        pidfd = os.pidfd_open(pid)
        try:
            refused = user("kill", "--all", "u", "USR1")
            assert "cannot signal all processes of a container without a cgroup" in refused.stderr
            assert user("kill", "--all", "u", "KILL").returncode == 0
            assert select.select([pidfd], [], [], 30)[0], "it has ended"
        finally:
            os.close(pidfd)
        assert user("kill", "--all", "u", "KILL").returncode == 0
        assert "container not running" in user("kill", "u", "KILL").stderr
    finally:
        assert user("delete", "--force", "u").returncode == 0


def test_no_cgroup_and_the_hosts_processes_is_a_warning(rootless: Box, user: User) -> None:
    rootless.without_namespace("pid")
    mounts = rootless.config["mounts"]
    mounts[:] = [mount for mount in mounts if mount["type"] != "proc"]
    rootless.mount("/proc", "none", "/proc", "rbind", "nosuid", "nodev", "noexec")
    rootless.linux["maskedPaths"] = rootless.linux["readonlyPaths"] = []
    rootless.process["args"] = ["true"]
    rootless.save()
    done = user("run", "u", cwd=rootless.directory)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1), done.stderr
    assert "level=warning" in done.stderr
    assert "cannot all be killed. Such configuration is strongly discouraged" in done.stderr


def test_the_callers_cpus_are_not_a_users_containers(rootless: Box, source: Path) -> None:
    """Also where there is no cgroup that would say which it has (runc >= 1.2)."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ours)
    user = User(rootless.directory / "state", source, "taskset", "-c", str(min(ours)))
    rootless.process["args"] = ["grep", "Cpus_allowed:", "/proc/self/status"]
    rootless.save()
    done = user("run", "u", cwd=rootless.directory)
    mask = int(done.stdout.split()[1].replace(",", ""), 16)
    assert {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1} == everything


def test_a_users_document_may_name_ptmx(rootless: Box, user: User) -> None:
    """config-linux.md, "Default Devices": a link to that of the container's own devpts, whatever is asked for."""
    rootless.linux["devices"] = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]
    rootless.process["args"] = ["readlink", "/dev/ptmx"]
    rootless.save()
    done = user("run", "u", cwd=rootless.directory)
    assert (done.returncode, done.stdout) == (0, "pts/ptmx\n"), done.stderr


def test_the_interpreter_is_protected_from_an_ordinary_users_container(rootless: Box, user: User) -> None:
    rootless.process["args"] = ["sleep", "60"]
    rootless.save()
    assert user("run", "--detach", "u", cwd=rootless.directory).returncode == 0
    try:
        # exec never ends here, so that its executable can be looked at.
        words = [*user.program, "--root", str(user.root), "exec", "u", "cat"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"x\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"x\n"
            assert os.statvfs(f"/proc/{process.pid}/exe").f_flag & os.ST_RDONLY
            process.stdin.close()
            assert process.wait(60) == 0
    finally:
        user("delete", "--force", "u")


NOTIFYING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerPath": "/agent",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda b: b.without_namespace("user"), "User namespace mappings specified"),
        (
            lambda b: (b.without_namespace("user"), b.linux.pop("uidMappings"), b.linux.pop("gidMappings")),
            "rootless container requires user namespaces",
        ),
        (lambda b: b.mount("/x", "tmpfs", "tmpfs", "gid=5"), "cannot specify gid= mount options for unmapped gid"),
        # Which file refuses first depends on the host's groups.
        (lambda b: b.linux.update(cgroupsPath="/mine"), "unable to apply cgroup configuration: "),
        (
            lambda b: b.linux["resources"].update(pids={"limit": 3}),
            "cannot set pids limit: container could not join or create",
        ),
        (lambda b: b.linux.update(seccomp=NOTIFYING), "SCMP_ACT_NOTIFY is not supported in rootless containers"),
        (lambda b: b.namespace("time"), "unshare time namespace: operation not permitted"),
        (lambda b: b.process.update(oomScoreAdj=-900), "oom_score_adj: permission denied"),
        (lambda b: b.process["user"].update(uid=7), "setresuid uid 7: invalid argument"),
        (lambda b: b.process["user"].update(additionalGids=[0]), "setgroups groups [0]: operation not permitted"),
    ],
)
def test_what_an_ordinary_user_cannot_have(rootless: Box, user: User, change: object, sentence: str) -> None:
    change(rootless)  # type: ignore[operator]
    rootless.save()
    done = user("run", "u", cwd=rootless.directory)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    state = rootless.directory / "state"
    assert not state.exists() or os.listdir(state) == []


@pytest.mark.needs("newuidmap")
def test_more_ids_come_from_the_helpers(rootless: Box, source: Path) -> None:
    """newuidmap(1) and newgidmap(1), allowed by /etc/subuid and /etc/subgid: laid over the host's for this test.

    And a user with that id in /etc/passwd, because the helpers ask for its name.
    """
    grant = f"{USER}:200000:1000\n"
    over = {"subuid": grant, "subgid": grant, "passwd": f"somebody:x:{USER}:{USER}::/:/bin/sh\n"}
    for name, text in over.items():
        (rootless.directory / name).write_text(text)
        Path(f"/etc/{name}").touch()
    binds = " && ".join(f"mount --bind {rootless.directory}/{name} /etc/{name}" for name in over)
    prefix = ["unshare", "--mount", "sh", "-c", f'{binds} && exec "$@"', "-"]
    mapping = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 200000, "size": 1000}]
    rootless.linux["uidMappings"] = rootless.linux["gidMappings"] = mapping
    rootless.process["args"] = ["sh", "-c", "cat /proc/self/uid_map; id -u; grep Groups /proc/self/status"]
    rootless.process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    rootless.save()
    user = User(rootless.directory / "state", source, *prefix)
    done = user("run", "u", cwd=rootless.directory)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:2]] == [["0", str(USER), "1"], ["1", "200000", "1000"]]
    assert lines[2:] == ["5", "Groups:\t7 "]
    rootless.linux["uidMappings"] = [{"containerID": 0, "hostID": 300000, "size": 10}]
    rootless.save()
    done = user("run", "u", cwd=rootless.directory)
    assert done.returncode == 1
    assert "newuidmap of process" in done.stderr
    assert len(done.stderr.splitlines()) == 1
