"""The command line, as podman and containerd use it: verbs, exit codes, files it leaves for others, terminals."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from tests.real.bundles import COMMAND, Box, CommandLine
from tests.real.unprivileged import unprivileged

from groundplane import runtime

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def box(box: Box) -> Box:
    box.process["args"] = ["sleep", "100"]
    box.save()
    return box


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a failed command."""
    assert done.returncode != 0
    line = done.stderr.splitlines()[-1]
    message = line.partition(" msg=")[2]
    return message[1:-1].replace('\\"', '"') if message.startswith('"') else message


def test_a_life(box: Box, ground: CommandLine) -> None:
    pid_file = box.directory / "pid"
    assert ground("create", "--bundle", str(box.directory), "--pid-file", str(pid_file), "c").stderr == ""
    pid = int(pid_file.read_text())
    state = json.loads(ground("state", "c").stdout)
    assert {k: state[k] for k in ("id", "pid", "status", "bundle", "rootfs")} == {
        "id": "c",
        "pid": pid,
        "status": "created",
        "bundle": str(box.directory),
        "rootfs": str(box.root),
    }
    assert Path(f"/proc/{pid}/comm").read_text() == "ground:inside\n"
    assert ground("start", "c").returncode == 0
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00100\x00"
    assert json.loads(ground("state", "c").stdout)["status"] == "running"
    assert failure(ground("start", "c")) == "cannot start an already running container"
    assert failure(ground("delete", "c")) == "cannot delete container c that is not stopped: running"
    assert failure(ground("create", "-b", str(box.directory), "c")).endswith("container with given ID already exists")
    pidfd = os.pidfd_open(pid)
    assert ground("kill", "c", "KILL").returncode == 0
    os.close(pidfd)
    while json.loads(ground("state", "c").stdout)["status"] != "stopped":
        pass
    assert json.loads(ground("state", "c").stdout)["pid"] == 0
    assert failure(ground("kill", "c", "TERM")) == "container not running"
    assert failure(ground("start", "c")) == "cannot start a container that has stopped"
    assert failure(ground("exec", "c", "true")) == "exec failed: cannot exec in a stopped container"
    assert ground("delete", "c").returncode == 0
    for words in (["state", "c"], ["delete", "c"], ["kill", "c"], ["start", "c"]):
        assert failure(ground(*words)) == "container does not exist"
    assert ground("delete", "--force", "c").returncode == 0
    assert list((box.directory / "state").iterdir()) == []


def test_run_returns_the_programs_code_and_clears_away(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["sh", "-c", "echo out; echo err >&2; exit 42"]
    box.save()
    done = ground("run", "r", cwd=box.directory)
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")
    box.process["args"] = ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]
    box.save()
    assert ground("run", "r", cwd=box.directory).returncode == 137
    assert ground("list", "-q").stdout == ""


def test_run_detached_and_kept(box: Box, ground: CommandLine) -> None:
    assert ground("run", "--detach", "r", cwd=box.directory).returncode == 0
    assert ground("list", "-q").stdout == "r\n"
    row = ground("list").stdout.splitlines()[1].split()
    assert row[0] == "r"
    assert row[2:4] == ["running", str(box.directory)]
    assert json.loads(ground("list", "--format", "json").stdout)[0]["status"] == "running"
    assert ground("delete", "-f", "r").returncode == 0
    box.process["args"] = ["true"]
    box.save()
    assert ground("run", "--keep", "r", cwd=box.directory).returncode == 0
    assert json.loads(ground("state", "r").stdout)["status"] == "stopped"


def test_signals_are_passed_on_to_the_container(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"]
    box.save()
    words = [*ground.program, "--root", str(ground.root), "run", "r"]
    with subprocess.Popen(words, cwd=box.directory, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(60) == 7


def test_exec(box: Box, ground: CommandLine) -> None:
    ground("run", "--detach", "c", cwd=box.directory)
    assert ground("exec", "c", "sh", "-c", "exit 9").returncode == 9
    assert ground("exec", "c", "sh", "-c", "kill -9 $$").returncode == 137
    script = "id -u; id -g; grep Groups /proc/self/status; pwd; echo $A$B; readlink /proc/self/ns/pid /proc/1/ns/pid"
    done = ground("exec", "-e", "A=1", "--env", "B=2", "-u", "5:6", "-g", "7", "--cwd", "/bin", "c", "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[:5] == ["5", "6", "Groups:\t7 ", "/bin", "12"]
    for kind in ("pid", "mnt", "net", "ipc", "uts", "cgroup"):
        ns = ground("exec", "c", "readlink", f"/proc/self/ns/{kind}").stdout
        assert ns == ground("exec", "c", "readlink", f"/proc/1/ns/{kind}").stdout
        assert ns.strip() != os.readlink(f"/proc/self/ns/{kind}")
    assert set(ground("exec", "c", "cat", "/proc/self/cgroup").stdout.splitlines()) == set(
        ground("exec", "c", "cat", "/proc/1/cgroup").stdout.splitlines()
    )
    assert failure(ground("exec", "c", "nosuch")) == (
        'exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH'
    )
    assert ground("exec", "c", "nosuch").returncode == 255
    assert failure(ground("exec", "c")) == "exec failed: process args cannot be empty"


def test_exec_of_a_process_document_detached(box: Box, ground: CommandLine) -> None:
    ground("run", "--detach", "c", cwd=box.directory)
    process = {**box.process, "args": ["sleep", "50"], "oomScoreAdj": 500}
    (box.directory / "process.json").write_text(json.dumps(process))
    pid_file = box.directory / "pid"
    words = ["--process", str(box.directory / "process.json"), "--detach", "--pid-file", str(pid_file)]
    assert ground("exec", *words, "c").returncode == 0
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    assert ground("kill", "--all", "c", "KILL").returncode == 0
    while Path(f"/proc/{pid}/exe").exists():
        pass


def test_a_capability_for_one_process(box: Box, ground: CommandLine) -> None:
    ground("run", "--detach", "c", cwd=box.directory)
    plain = ground("exec", "c", "grep", "CapEff", "/proc/self/status").stdout
    more = ground("exec", "--cap", "CAP_SYS_ADMIN", "c", "grep", "CapEff", "/proc/self/status").stdout
    assert int(more.split()[1], 16) == int(plain.split()[1], 16) | 1 << 21


def receive_terminal(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        data, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    assert data
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2])
    return descriptors[0]


def test_a_terminal_over_the_console_socket(box: Box, ground: CommandLine) -> None:
    box.process["terminal"] = True
    box.process["consoleSize"] = {"height": 31, "width": 99}
    box.process["args"] = ["sh", "-c", "tty; busybox stty size; ls -l /dev/console | grep -c 136; read x; echo got $x"]
    box.save()
    assert "without setting console socket" in failure(ground("create", "c", cwd=box.directory))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(box.directory / "console"))
        listener.listen()
        done = ground("create", "--console-socket", str(box.directory / "console"), "c", cwd=box.directory)
        assert done.returncode == 0, done.stderr
        master = receive_terminal(listener)
    try:
        assert ground("start", "c").returncode == 0
        os.write(master, b"hello\n")
        text = b""
        while b"got hello" not in text:
            text += os.read(master, 1000)
        assert b"/dev/pts/0\r\n" in text
        assert b"31 99\r\n" in text
    finally:
        os.close(master)


def test_a_terminal_in_the_foreground(box: Box, ground: CommandLine) -> None:
    ground("run", "--detach", "c", cwd=box.directory)
    done = ground("exec", "--tty", "c", "sh", "-c", "tty; exit 3")
    assert done.returncode == 3
    assert done.stdout.splitlines() == ["/dev/pts/0"]


def test_preserved_descriptors_and_socket_activation(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["sh", "-c", "cat <&3; echo $LISTEN_FDS; cat <&4"]
    box.save()
    first, second = os.memfd_create("a"), os.memfd_create("b")
    os.write(first, b"first\n")
    os.write(second, b"second\n")
    for fd in (first, second):
        os.lseek(fd, 0, os.SEEK_SET)
    script = f'exec 3<&{first} 4<&{second}; exec "$@"'
    words = ["bash", "-c", script, "-", *ground.program, "--root", str(ground.root), "run", "--preserve-fds", "1", "r"]
    done = subprocess.run(
        words,
        cwd=box.directory,
        pass_fds=(first, second),
        env={**os.environ, "LISTEN_FDS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(first)
    os.close(second)
    assert done.stdout == "first\n1\nsecond\n", done.stderr


def test_errors_go_to_the_log_in_its_format(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["nosuch"]
    box.save()
    log = box.directory / "log"
    words = [*ground.program, "--root", str(ground.root), "--log", str(log), "--log-format", "json", "create", "c"]
    done = subprocess.run(words, cwd=box.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert entry["msg"].startswith('runc create failed: unable to start container process: exec: "nosuch"')
    assert done.stderr.strip() == entry["msg"]
    assert list((box.directory / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["create"], 1, 'ground-runtime: "create" requires exactly 1 argument(s)'),
        (["create", "a", "b"], 1, 'ground-runtime: "create" requires exactly 1 argument(s)'),
        (["create", "a/b"], 1, "runc create failed: invalid container ID format"),
        (["create", ".."], 1, "runc create failed: invalid container ID format"),
        (["create", "--bundle", "/no/such", "x"], 1, "runc create failed: chdir /no/such: no such file or directory"),
        (["create", "--bundle", "/", "x"], 1, "runc create failed: JSON specification file config.json not found"),
        (["create", "--no-such-flag", "x"], 1, "flag provided but not defined: -no-such-flag"),
        (["frob"], 3, "No help topic for 'frob'"),
        (["--log-format", "xml", "list"], 1, "invalid log-format: xml"),
        (["--root", "/", "list"], 1, "Option --root argument should not be set to /"),
        (["kill", "x", "FOO"], 1, "container does not exist"),
    ],
)
def test_wrong_words_are_one_sentence(box: Box, words: list[str], code: int, sentence: str) -> None:
    done = CommandLine(box.directory / "state")(*words, cwd=box.directory)
    assert done.returncode == code
    assert failure(done).startswith(sentence)
    assert "Traceback" not in done.stderr


def test_spec_writes_a_document_that_runs(box: Box, ground: CommandLine) -> None:
    bundle = box.directory / "fresh"
    bundle.mkdir()
    assert ground("spec", "--bundle", str(bundle)).returncode == 0
    assert failure(ground("spec", "--bundle", str(bundle))) == "File config.json exists. Remove it first"
    document = json.loads((bundle / "config.json").read_text())
    document["process"] |= {"terminal": False, "args": ["true"]}
    document["process"]["rlimits"] = []
    document["root"]["path"] = str(box.root)
    document["linux"]["cgroupsPath"] = box.cgroup
    (bundle / "config.json").write_text(json.dumps(document))
    assert ground("run", "s", cwd=bundle).returncode == 0


def test_version_and_help(box: Box, ground: CommandLine) -> None:
    assert "spec: 1.2.0" in ground("--version").stdout
    assert "COMMANDS:" in ground("--help").stdout


def test_without_rights_it_is_one_sentence(box: Box) -> None:
    words = unprivileged(*COMMAND, "run", "--bundle", str(box.directory), "x")
    environment = {**os.environ, "PYTHONPATH": str(Path(runtime.__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert failure(done).startswith("runc run failed: mkdir /run/ground-runtime")


def test_two_creates_of_one_id_race(box: Box, ground: CommandLine) -> None:
    words = [*ground.program, "--root", str(ground.root), "create", "c"]
    both = [
        subprocess.Popen(
            words, cwd=box.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    assert sorted(process.wait(60) for process in both) == [0, 1]
    assert json.loads(ground("state", "c").stdout)["status"] == "created"


def test_what_a_killed_create_leaves_can_be_deleted(box: Box, ground: CommandLine) -> None:
    killer = box.directory / "killer"
    killer.write_text("#!/bin/sh\nkill -9 $PPID\n")
    killer.chmod(0o755)
    box.config["hooks"] = {"createRuntime": [{"path": str(killer)}]}
    box.save()
    assert ground("create", "c", cwd=box.directory).returncode == -9
    assert json.loads(ground("state", "c").stdout)["status"] == "creating"
    assert failure(ground("start", "c")) == "cannot start a container that is being created"
    assert "not stopped: creating" in failure(ground("delete", "c"))
    assert ground("delete", "--force", "c").returncode == 0
    assert ground("list", "-q").stdout == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"ociVersion": 1}',
        '{"linux": {"cgroupsPath": 3}}',
        '{"root": 1, "process": [], "hooks": 3}',
    ],
)
def test_a_bad_document_is_one_sentence_and_leaves_nothing(box: Box, ground: CommandLine, text: str) -> None:
    (box.directory / "config.json").write_text(text)
    for verb in ("create", "run"):
        done = ground(verb, "c", cwd=box.directory)
        assert done.returncode == 1
        assert failure(done).startswith(f"runc {verb} failed: ")
        assert len(done.stderr.splitlines()) == 1
    assert ground("list", "-q").stdout == ""


@pytest.mark.needs("runc")
@pytest.mark.parametrize(
    "change",
    [
        {"args": ["nosuch"]},
        {"args": ["/nosuch"]},
        {"args": []},
        {"cwd": "x"},
        {"cwd": ""},
        {"env": ["A=1", "broken"]},
        {"args": ["sh", "-c", "exit 5"]},
        {"args": ["grep", "Cap", "/proc/self/status"]},
        {"args": ["sh", "-c", "id; umask; pwd; ulimit -n; env"], "user": {"uid": 7, "gid": 8}},
    ],
)
def test_the_same_answer_as_runc(box: Box, ground: CommandLine, change: dict[str, object]) -> None:
    box.config["process"] |= change
    box.save()
    runc = CommandLine(box.directory / "runc", ["runc"])
    answers = [
        (d.returncode, d.stdout, d.stderr.partition(" level")[2])
        for d in (c("run", "r", cwd=box.directory) for c in (runc, ground))
    ]
    assert sorted(answers[0][1].splitlines()) == sorted(answers[1][1].splitlines())
    assert answers[0][0] == answers[1][0]
    if "env" not in change:  # runc finds this one in the container, we before there is one
        assert answers[0][2] == answers[1][2]
