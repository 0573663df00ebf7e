"""The verbs that look at a container or change it while it runs, side by side with runc where it is installed."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.real.bundles import COMMAND, Box, CommandLine
from tests.real.runtime_rig import sentence, wait_until_stopped
from tests.real.unprivileged import unprivileged

from groundplane.kernel.cgroups import registry

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def box(box: Box) -> Box:
    box.process["args"] = ["sleep", "1000"]
    box.save()
    return box


def answers(command: CommandLine, box: Box, script: list[list[str]]) -> list[tuple[str, int, str]]:
    results = []
    for words in script:
        done = command(*words, cwd=box.directory)
        results.append((" ".join(words), done.returncode, sentence(done)))
    return results


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


@pytest.mark.needs("runc", "ps")
def test_ps(box: Box, make: Callable[..., CommandLine]) -> None:
    shapes = []
    for command in (make("runc"), make()):
        command("run", "-d", "c", cwd=box.directory)
        pids = json.loads(command("ps", "--format", "json", "c").stdout)
        assert pids == [json.loads(command("state", "c").stdout)["pid"]]
        table = command("ps", "c").stdout.splitlines()
        assert [line.split()[1] for line in table[1:]] == [str(pids[0])]
        # `run` has returned, and the program has perhaps not begun.
        while (chosen := command("ps", "c", "-o", "pid,args").stdout.splitlines())[1].split()[1:] != ["sleep", "1000"]:
            pass
        assert chosen[1].split()[0] == str(pids[0])
        wrong = command("ps", "c", "-o", "args")
        shapes.append((table[0], chosen[0], wrong.returncode, sentence(wrong)))
        command("kill", "c", "KILL")
        wait_until_stopped(command, "c")
        shapes[-1] += (command("ps", "c").stdout, command("ps", "-f", "json", "c").stdout)
        command("delete", "c")
    assert shapes[0] == shapes[1]


@pytest.mark.needs("ps")
def test_ps_of_a_command_line_that_is_no_text(box: Box, ground: CommandLine) -> None:
    # With a path, because some busybox's shells are their own sleep.
    box.process["args"] = ["sh", "-c", "A=$(printf 'x\\377\\vy'); sh -c '/bin/sleep 1000; :' \"$A\"; :"]
    box.save()
    ground("run", "-d", "c", cwd=box.directory)
    words = [*COMMAND, "--root", str(ground.root), "ps", "c"]
    while len(registry.detect().processes(box.cgroup)) < 3:
        pass
    done = subprocess.run(words, capture_output=True, check=False)
    assert (done.returncode, len(done.stdout.split(b"\n"))) == (0, 5), done


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
    words = unprivileged(*COMMAND, "list", "-q")
    done = subprocess.run(words, env={**environment, "PYTHONPATH": str(source)}, cwd="/", capture_output=True)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert (runtime / "ground-runtime").stat().st_mode & 0o7777 == 0o1700
