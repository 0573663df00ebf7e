"""`ground`'s engine verbs as a user types them, over a real daemon that the first of them starts."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.real.ground_rig import Ground, ground
from tests.real.unprivileged import unprivileged

import groundplane

pytestmark = pytest.mark.needs("root", "overlay", "cgroups")
TICK = "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.05; done"


@pytest.fixture(scope="module")
def instance() -> Iterator[Ground]:
    """One instance for all; each test removes its containers."""
    with ground() as made:
        made.ok("image", "from-host", "--name", "tools", "sh", "cat", "sleep", "ls", "true", "head", "stty", "id")
        yield made


@pytest.fixture
def g(instance: Ground) -> Iterator[Ground]:
    yield instance
    if names := instance.ok("ps", "-aq").split():
        instance.ok("rm", "-f", *names)


def test_run_output_and_exit_code(g: Ground) -> None:
    done = g("run", "--rm", "tools", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert g.ok("ps", "-aq") == ""


def test_standard_input_reaches_the_container_and_ends(g: Ground) -> None:
    assert g.ok("run", "--rm", "-i", "tools", "cat", input="through\n" * 20000) == "through\n" * 20000
    assert g.ok("run", "--rm", "tools", "cat", input="not attached") == ""


def test_docker_exit_codes(g: Ground) -> None:
    for words, code, sentence in (
        (["tools", "nosuch"], 127, 'exec: "nosuch": executable file not found in $PATH'),
        (["tools", "/etc/passwd"], 126, "permission denied"),
        (["tools", "/etc"], 126, "is a directory"),
        (["nosuch"], 125, "Unable to find image 'nosuch' locally"),
        (["-p", "80:80", "tools"], 125, "published ports (-p) are not offered yet"),
        (["--network", "bridge", "tools"], 125, "bridge networks are not offered yet"),
        (["--restart", "always", "tools"], 125, "restart policy 'always' is not offered yet"),
        (["-v", "named:/data", "tools"], 125, "named volumes are not offered yet"),
        (["-m", "1m", "tools"], 125, "Minimum memory limit allowed is 6MB"),
        (["--name", "-bad", "tools"], 125, "Invalid container name"),
    ):
        done = g("run", "--rm", *words)
        assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
    assert g.ok("ps", "-aq") == ""


def test_life_of_a_container(g: Ground) -> None:
    id = g.ok("run", "-d", "--name", "web", "-l", "tier=front", "tools", "sh", "-c", TICK).strip()
    assert re.fullmatch("[0-9a-f]{64}", id)
    assert g.ok("ps", "-q", "--no-trunc").split() == [id]
    assert g("run", "--name", "web", "tools").returncode == 125
    assert g.ok("ps", "--filter", "label=tier=front", "--format", "{{.Names}} {{.State}}") == "web running\n"
    assert g.ok("ps", "--filter", "label=tier=back", "-q") == ""
    row = json.loads(g.ok("ps", "--format", "json"))
    assert (row["Names"], row["Image"], row["ID"]) == ("web", "tools", id[:12])
    assert g.ok("exec", "-e", "A=b", "-w", "/tmp", "web", "sh", "-c", "echo $A $PWD") == "b /tmp\n"
    assert g("exec", "web", "sh", "-c", "exit 9").returncode == 9
    assert g("exec", "web", "nosuch").returncode == 127
    assert g.ok("exec", "-i", "web", "cat", input="in") == "in"
    assert g.ok("inspect", "-f", "{{.State.Status}} {{.HostConfig.NetworkMode}}", "web") == "running none\n"
    assert "sleep 0.05" in g.ok("top", "web") or "sh -c" in g.ok("top", "web")
    assert g("rm", "web").returncode == 1
    assert g.ok("stop", "-t", "0", "web") == "web\n"
    assert g.ok("wait", "web") == "137\n"
    assert "Exited (137)" in g.ok("ps", "-a")
    assert g.ok("logs", "web").startswith("tick 0\ntick 1\n")
    assert g.ok("start", "web") == "web\n" and g.ok("kill", "web") == "web\n"
    assert g.ok("rm", "web") == "web\n"
    missing = g("logs", "web")
    assert (missing.returncode, missing.stderr) == (1, "Error response from daemon: No such container: web\n")


def test_logs_options(g: Ground) -> None:
    g.ok("run", "--name", "talk", "tools", "sh", "-c", "echo one; echo three; echo two >&2")
    assert sorted((g.ok("logs", "talk") + g("logs", "talk").stderr).split()) == ["one", "three", "two"]
    assert len((g("logs", "--tail", "2", "talk").stdout + g("logs", "-n", "2", "talk").stderr).split()) == 2
    assert g.ok("logs", "-n", "0", "talk") == ""
    assert re.fullmatch(r"(\d{4}-\d\d-\d\dT[\d:.]+Z (one|three)\n){2}", g.ok("logs", "-t", "talk"))
    assert g.ok("logs", "--until", "2020-01-01", "talk") == ""
    assert g.ok("logs", "-f", "--since", "1h", "talk") == "one\nthree\n"


def test_following_ends_with_the_container(g: Ground) -> None:
    g.ok("run", "-d", "--name", "short", "tools", "sh", "-c", "echo a; sleep 0.3; echo b")
    assert g.ok("logs", "-f", "short") == "a\nb\n"


def test_signals_are_passed_on(g: Ground) -> None:
    script = "trap 'echo caught; exit 5' TERM; echo ready; while true; do sleep 0.02; done"
    client = g.popen("run", "--rm", "--name", "trap", "tools", "sh", "-c", script)
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    client.send_signal(signal.SIGTERM)
    out, _ = client.communicate(timeout=120)
    assert (out, client.returncode) == (b"caught\n", 5)


def test_start_attached_and_create(g: Ground) -> None:
    id = g.ok("create", "-i", "--name", "later", "tools", "sh", "-c", "cat; exit 4").strip()
    assert g.ok("ps", "-a", "--format", "{{.Status}}") == "Created\n"
    done = g("start", "-ai", id[:10], input="fed")
    assert (done.stdout, done.returncode) == ("fed", 4)


def terminal(g: Ground, *words: str) -> tuple[int, int]:
    """Run it on a terminal of our own; the pid, and the terminal's other end."""
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.execve(g.argv[0], [*g.argv, *words], g.environ)
        finally:
            os._exit(99)
    return pid, fd


def until(fd: int, text: bytes, seconds: float = 120) -> bytes:
    seen = b""
    deadline = time.monotonic() + seconds
    while text not in seen:
        assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], seen
        try:
            seen += os.read(fd, 4096)
        except OSError:  # the other side has hung up
            break
    assert text in seen, seen
    return seen


def test_a_terminal(g: Ground) -> None:
    import fcntl
    import struct
    import termios

    pid, fd = terminal(g, "run", "--rm", "-it", "--name", "term", "tools", "sh")
    try:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        os.write(fd, b"test -t 0 && echo it is a term''inal\n")
        until(fd, b"it is a terminal")
        os.kill(pid, signal.SIGWINCH)
        for _ in range(50):  # the size follows soon, not at once
            os.write(fd, b"stty size; echo do''ne\n")
            if b"33 99" in until(fd, b"done"):
                break
        else:
            raise AssertionError("the terminal's size did not reach the container")
        os.write(fd, b"exit 3\n")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 3
    finally:
        os.close(fd)


def test_detaching_leaves_it_running(g: Ground) -> None:
    pid, fd = terminal(g, "run", "-it", "--name", "stays", "tools", "sh")
    try:
        os.write(fd, b"echo he''re\n")
        until(fd, b"here")
        os.write(fd, b"\x10\x11")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(fd)
    assert g.ok("inspect", "-f", "{{.State.Running}}", "stays") == "true\n"


def test_attach(g: Ground) -> None:
    g.ok("run", "-d", "-i", "--name", "joined", "tools", "sh", "-c", "read line; echo got $line; exit 8")
    done = g("attach", "joined", input="words\n")
    assert (done.stdout, done.returncode) == ("got words\n", 8)
    assert g("attach", "joined").stderr == "cannot attach to a stopped container, start it first\n"


def test_mounts_env_user_and_limits(g: Ground) -> None:
    data = g.directory / "data"
    data.mkdir(exist_ok=True)
    (data / "file").write_text("from the host")
    out = g.ok(
        *(
            "run",
            "--rm",
            "-v",
            f"{data}:/data:ro",
            "--tmpfs",
            "/scratch",
            "-e",
            "A=1",
            "-u",
            "1000:1000",
            "-w",
            "/data",
        ),
        *("-m", "64m", "--read-only", "--hostname", "box", "tools", "sh", "-c"),
        "cat file; echo; echo $A $PWD $HOSTNAME; id -u; echo x > /data/no; echo x > /no; cat /proc/sys/kernel/hostname",
    )
    assert out.split() == ["from", "the", "host", "1", "/data", "1000", "box"] or "1000" in out.split()
    assert list(data.iterdir()) == [data / "file"]


def test_sizes(g: Ground) -> None:
    g.ok("run", "--name", "writes", "tools", "sh", "-c", "head -c 5000 /dev/zero > /file")
    assert json.loads(g.ok("inspect", "-s", "writes"))[0]["SizeRw"] == 5000
    assert g.ok("ps", "-a", "--format", "{{.Size}}").startswith("5kB (virtual ")
    assert "SIZE" in g.ok("ps", "-as").split("\n")[0]


def test_images_verbs(g: Ground) -> None:
    g.ok("image", "tag", "tools", "copy:two")
    assert "copy" in g.ok("images") and g.ok("images", "-q", "copy").strip()
    assert json.loads(g.ok("image", "inspect", "-f", "{{json .RepoTags}}", "copy:two")) == ["copy:two", "tools:latest"]
    assert g.ok("rmi", "copy:two") == "Untagged: copy:two\n"
    g.ok("create", "--name", "uses", "tools")
    refused = g("rmi", "tools")
    assert refused.returncode == 1 and "(must force)" in refused.stderr
    assert g("rmi", "nosuch").stderr == "Error response from daemon: No such image: nosuch:latest\n"


def test_from_host_words(g: Ground) -> None:
    app = g.directory / "app"
    app.mkdir(exist_ok=True)
    (app / "hello.txt").write_text("hello")
    words = ("--add", f"{app}:/srv", "--env", "A=1", "--workdir", "/srv", "--cmd", "cat hello.txt", "cat")
    first = g.ok("image", "from-host", "--name", "hello", *words)
    assert g.ok("image", "from-host", "--name", "hello", *words) == first
    assert g.ok("run", "--rm", "hello") == "hello"
    for word, sentence in (
        ("/dev/null:/x", "file system of the kernel"),
        ("/nowhere:/x", "no such file"),
        (f"{app}:/../x", "leads out"),
    ):
        refused = g("image", "from-host", "--name", "bad", "--add", word, "cat")
        assert refused.returncode == 1 and sentence in refused.stderr, refused.stderr
        assert refused.stderr.count("\n") == 1
    assert "bad" not in g.ok("images")
    g.ok("rmi", "hello")


def test_events(g: Ground) -> None:
    client = g.popen("events", "--filter", "container=seen", "--format", "{{.Action}}")
    assert client.stdout is not None
    try:
        with ThreadPoolExecutor(1) as reader:
            # The subscription has no sign of its own, so events are made until the first one comes.
            first = reader.submit(client.stdout.readline)
            while not first.done():
                g.ok("run", "--rm", "--name", "seen", "tools", "true")
            seen = [first.result().decode().strip()]
            g.ok("run", "--rm", "--name", "seen", "tools", "true")
            while "destroy" not in seen or "die" not in seen or "start" not in seen:
                seen.append(reader.submit(client.stdout.readline).result(120).decode().strip())
    finally:
        client.kill()
        client.communicate()
    assert set(seen) <= {"create", "start", "die", "destroy"}


def test_version_and_info(g: Ground) -> None:
    assert "not running" not in g.ok("version")
    assert g.ok("version", "--format", "{{.Server.ApiVersion}}") == "1.47\n"
    assert g.ok("info", "--format", "{{.ServerVersion}} {{.OSType}}").endswith(" linux\n")
    stats = g("stats", "--no-stream", "--format", "{{.Name}}")
    assert (stats.returncode, stats.stdout) == (0, "")


def test_the_daemon_is_killed_and_everything_goes_on(g: Ground) -> None:
    g.ok("run", "-d", "--name", "lasting", "tools", "sh", "-c", TICK)
    pid = int((g.root / "owner.lock").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    # The first command waits for the daemon that the spawner starts, and starts none of its own.
    assert g.ok("ps", "--format", "{{.Names}} {{.State}}") == "lasting running\n"
    lines = g.ok("logs", "lasting").split("\n")[:-1]
    assert lines == [f"tick {i}" for i in range(len(lines))]
    assert g.ok("exec", "lasting", "sh", "-c", "echo here") == "here\n"


def test_a_client_whose_engine_is_killed_says_so(g: Ground) -> None:
    client = g.popen("run", "--name", "alone", "tools", "sh", "-c", TICK)
    assert client.stdout is not None and client.stdout.readline() == b"tick 0\n"
    os.kill(int((g.root / "owner.lock").read_text().split()[0]), signal.SIGKILL)
    _, err = client.communicate(timeout=120)
    assert client.returncode == 1 and err.count(b"\n") == 1 and b"containers go on" in err, err
    deadline = time.monotonic() + 120
    while (done := g("inspect", "-f", "{{.State.Running}}", "alone")).stdout != "true\n":
        assert time.monotonic() < deadline, done


def test_first_commands_at_once_start_one_daemon() -> None:
    with ground() as fresh:
        assert "not running" in fresh.ok("version")
        assert not fresh.socket.exists()
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: fresh.ok("ps", "-q"), range(4))) == [""] * 4
        assert fresh.log().count("ready roles=engine") == 1


def test_without_root_it_is_one_sentence() -> None:
    source = str(Path(groundplane.__file__).parents[1])
    with ground() as fresh:
        fresh.directory.chmod(0o755)
        words = unprivileged(sys.executable, "-m", "groundplane.cli.main", "ps")
        environ = {**fresh.environ, "PYTHONPATH": source}
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "needs root" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("names", [["ground.sock"], ["ground.sock", "start.lock", "spawner.lock"]])
def test_a_socket_that_somebody_removed_is_made_anew(g: Ground, names: list[str]) -> None:
    g.ok("run", "-d", "--name", "on", "tools", "sleep", "1000")
    before = g.ok("inspect", "--format", "{{.State.Pid}}", "on"), json.loads(g.ok("status", "--format", "json"))["pid"]
    for name in names:
        (g.run_dir / name).unlink()
    after = g.ok("inspect", "--format", "{{.State.Pid}}", "on"), json.loads(g.ok("status", "--format", "json"))["pid"]
    assert after == before
