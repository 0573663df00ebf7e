"""dockerd and containerd's shim on top of `ground-runtime`: what the docker command line promises of a container."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.foreign.docker_daemon import Docker, docker_daemon

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay", "dockerd", "docker-cli", "busybox")


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with docker_daemon() as started:
        yield started


def terminal(docker: Docker, *words: str) -> tuple[int, str]:
    """A docker command on a terminal of its own: its exit code and what was seen on the screen."""
    master, slave = pty.openpty()
    with subprocess.Popen(["docker", *words], env=docker.environ, stdin=slave, stdout=slave, stderr=slave) as running:
        os.close(slave)
        seen = b""
        try:
            while data := os.read(master, 4096):
                seen += data
        except OSError:
            pass  # EIO: the last slave is closed
        os.close(master)
        return running.wait(60), seen.decode().replace("\r", "")


def inspect(docker: Docker, name: str, what: str) -> str:
    return docker("inspect", "--format", "{{" + what + "}}", name).strip()


def test_run_its_streams_and_codes(docker: Docker) -> None:
    done = docker.words("run", "--rm", "--net", "none", "box", "sh", "-c", "echo out; echo err >&2; exit 5", code=5)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert docker("run", "--rm", "-i", "--net", "none", "box", "cat", input="in\n" * 3000) == "in\n" * 3000
    missing = docker.words("run", "--rm", "--net", "none", "box", "nosuch", code=127)
    assert "executable file not found in $PATH" in missing.stderr
    assert "permission denied" in docker.words("run", "--rm", "--net", "none", "box", "/etc/passwd", code=126).stderr


def test_a_life(docker: Docker) -> None:
    trap = "trap 'echo bye; exit 3' TERM; echo here; while true; do sleep 0.1; done"
    docker("run", "-d", "--name", "life", "--net", "none", "box", "sh", "-c", trap)
    docker.until("here", "logs", "life")
    assert docker("exec", "-u", "ann", "-w", "/etc", "-e", "A=b", "life", "sh", "-c", "id -un; pwd; echo $A") == (
        "ann\n/etc\nb\n"
    )
    docker("exec", "life", "sh", "-c", "exit 4", code=4)
    assert "executable file not found" in docker("exec", "life", "nosuch", code=126)
    assert "sh -c trap" in docker("top", "life")
    docker("pause", "life")
    assert inspect(docker, "life", ".State.Status") == "paused"
    docker("unpause", "life")
    docker("stop", "life")
    assert inspect(docker, "life", ".State.ExitCode") == "3" and "bye" in docker("logs", "life")
    docker("start", "life")
    docker("kill", "life")
    assert docker("wait", "life") == "137\n"
    docker("rm", "life")


def test_terminals(docker: Docker) -> None:
    code, seen = terminal(docker, "run", "--rm", "-it", "--net", "none", "box", "sh", "-c", "tty; exit 6")
    assert (code, seen) == (6, "/dev/pts/0\n")
    docker("run", "-d", "--name", "tty", "--net", "none", "box", "sleep", "1000")
    code, seen = terminal(docker, "exec", "-it", "tty", "sh", "-c", "tty; test -t 0 && exit 7")
    assert (code, seen) == (7, "/dev/pts/0\n")
    docker("rm", "-f", "tty")


def test_attach_and_copies(docker: Docker, tmp_path: Path) -> None:
    docker("run", "-d", "-i", "--name", "attached", "--net", "none", "box", "sh", "-c", "read line; echo got $line")
    (tmp_path / "file").write_text("copied\n")
    docker("cp", f"{tmp_path}/file", "attached:/tmp/file")
    assert docker("exec", "attached", "cat", "/tmp/file") == "copied\n"
    docker("cp", "attached:/tmp/file", f"{tmp_path}/back")
    assert (tmp_path / "back").read_text() == "copied\n"
    docker("attach", "attached", input="words\n")
    docker.until("got words", "logs", "attached")
    docker("rm", "attached")


def test_limits_update_and_figures(docker: Docker) -> None:
    limits = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "40"]
    docker("run", "-d", "--name", "limits", "--net", "none", *limits, "box", "sleep", "1000")

    def files(*names: str) -> list[str]:
        return docker("exec", "limits", "cat", *(f"/sys/fs/cgroup/{name}" for name in names)).split()

    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        memory, pids, cpu = "memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us"
        assert files(memory, pids, cpu) == [str(64 << 20), "40", "50000"]
        docker("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "50", "--cpus", "1", "limits")
        assert files(memory, pids, cpu) == [str(96 << 20), "50", "100000"]
    figures = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "limits"))
    assert figures["PIDs"] == "1" and figures["MemUsage"].split(" / ")[1] == "96MiB"
    docker("rm", "-f", "limits")


def test_out_of_memory_is_told(docker: Docker) -> None:
    # Told to, because the shim listens for it a moment after the start.
    eat = ["sh", "-c", "until test -e /tmp/go; do sleep 0.1; done; exec dd if=/dev/zero of=/dev/null bs=100M count=1"]
    limit = ["--memory", "16m", "--memory-swap", "16m"]
    docker("run", "-d", "--name", "oom", "--net", "none", *limit, "box", *eat)
    docker("exec", "oom", "touch", "/tmp/go")
    assert docker("wait", "oom") == "137\n"
    docker.until(
        "oom", "events", "--since", "10m", "--until", "0s", "--filter", "container=oom", "--format", "{{.Action}}"
    )
    docker.until("true", "inspect", "--format", "{{.State.OOMKilled}}", "oom")
    docker("rm", "oom")


def test_init_restarts_and_health(docker: Docker) -> None:
    assert "docker-init -- ps" in docker("run", "--rm", "--init", "--net", "none", "box", "ps")
    health = ["--health-cmd", "test -e /tmp/well", "--health-interval", "200ms", "--health-retries", "2"]
    docker("run", "-d", "--name", "health", "--net", "none", *health, "box", "sleep", "1000")
    docker("run", "-d", "--name", "again", "--net", "none", "--restart", "on-failure:2", "box", "sh", "-c", "exit 9")
    docker.until("unhealthy", "inspect", "--format", "{{.State.Health.Status}}", "health")
    docker("exec", "health", "touch", "/tmp/well")
    docker.until(" healthy", "inspect", "--format", " {{.State.Health.Status}}", "health")
    docker.until(
        "2 exited 9", "inspect", "--format", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "again"
    )
    docker("rm", "-f", "health", "again")


def test_networks_and_published_ports(docker: Docker) -> None:
    docker("network", "create", "net")
    serve = "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"
    docker("run", "-d", "--name", "web", "--net", "net", "-p", "10.99.0.1:8080:80", "box", "sh", "-c", serve)
    shared = ["--net", "container:web"]
    fetch = "i=0; until wget -qO- http://web; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.2; done"
    assert docker("run", "--rm", "--net", "net", "box", "sh", "-c", fetch) == "hello\n"
    ask = lambda: urllib.request.urlopen("http://10.99.0.1:8080", timeout=60).read()  # noqa: E731
    assert docker.host.run(ask) == b"hello\n"
    assert docker("run", "--rm", *shared, "box", "wget", "-qO-", "http://127.0.0.1") == "hello\n"
    docker("rm", "-f", "web")
    docker("network", "rm", "net")


def test_what_protects(docker: Docker) -> None:
    def run(*words: str, code: int = 0) -> str:
        done = docker.words("run", "--rm", "--net", "none", *words, code=code)
        return done.stdout + done.stderr

    status = ["box", "sh", "-c", "while read key value; do echo $key $value; done </proc/self/status"]
    given = run(
        "--user", "ann", "--group-add", "60", "--cap-drop", "all", "--security-opt", "no-new-privileges", *status
    )
    assert "Uid: 1000" in given and "Groups: 60" in given
    assert "CapBnd: 0000000000000000" in given and "NoNewPrivs: 1" in given and "Seccomp: 2" in given
    assert "Seccomp: 0" in run("--security-opt", "seccomp=unconfined", *status)
    assert "CapEff: 0000000000003000" in run(
        "--cap-drop", "all", "--cap-add", "net_admin", "--cap-add", "net_raw", *status
    )
    assert "Read-only file system" in run("--read-only", "box", "touch", "/file", code=1)
    assert run("--read-only", "--tmpfs", "/tmp:size=1m", "box", "sh", "-c", "touch /tmp/a; ls /tmp") == "a\n"
    assert "permission denied" in run("box", "busybox", "mount", "-t", "tmpfs", "x", "/tmp", code=1)
    assert run("--privileged", "box", "busybox", "mount", "-t", "tmpfs", "x", "/tmp") == ""


def test_namespaces_of_others_and_volumes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "seen").touch()
    docker("run", "-d", "--name", "first", "--net", "none", "-v", "data:/data", "box", "sleep", "1234")
    beside = ["run", "--rm", "--net", "none", "--pid", "container:first", "--ipc", "host", "--uts", "host"]
    seen = docker(
        *beside,
        "--volumes-from",
        "first",
        "-v",
        f"{tmp_path}:/in:ro",
        "box",
        "sh",
        "-c",
        "ps; hostname; ls /in; touch /data/x",
    )
    assert "sleep 1234" in seen and os.uname().nodename in seen and "seen" in seen
    assert docker("exec", "first", "ls", "/data") == "x\n"
    assert "sleep 1234" in docker("run", "--rm", "--pid", "host", "--net", "none", "box", "ps")
    docker("rm", "-f", "first")


def test_an_image_is_built(docker: Docker, tmp_path: Path) -> None:
    lines = [
        "FROM box",
        "RUN echo made > /made && mkdir /w",
        "WORKDIR /w",
        "USER ann",
        'CMD ["sh", "-c", "cat /made; pwd; id -u"]',
    ]
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    docker("build", "-q", "-t", "made", str(tmp_path))
    assert docker("run", "--rm", "--net", "none", "made") == "made\n/w\n1000\n"


def test_containerds_own_client(docker: Docker) -> None:
    runtime = ["--runc-binary", f"{docker.directory}/ground-runtime", "--cgroup", f"/{docker.parent}/ctr"]
    assert docker.ctr("run", "--rm", "--rootfs", *runtime, f"{docker.directory}/box", "one", "echo", "hi") == "hi\n"
    docker.ctr("run", "--detach", "--rootfs", *runtime, f"{docker.directory}/box", "two", "sleep", "1000")
    assert docker.ctr("task", "exec", "--exec-id", "e", "two", "echo", "in") == "in\n"
    docker.ctr("task", "pause", "two")
    assert "PAUSED" in docker.ctr("task", "ls")
    docker.ctr("task", "resume", "two")
    docker.ctr("task", "delete", "--force", "two")
    docker.ctr("container", "delete", "two")
