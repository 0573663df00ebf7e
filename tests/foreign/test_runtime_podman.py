"""podman on top of `ground-runtime`: the calls and files that a foreign engine relies on."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.foreign.podman_host import Podman, podman_host

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay", "podman", "busybox")
V1 = not os.path.exists("/sys/fs/cgroup/cgroup.controllers")
# Newer buildahs ask for more than the host's own, which takes CAP_SYS_RESOURCE.
LIMITS = ("nofile=1024:1024", "nproc=1024:1024")
STATUS = ["box", "sh", "-c", "while read key value; do echo $key $value; done </proc/self/status"]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with podman_host() as started:
        yield started


def test_run_and_its_code(podman: Podman) -> None:
    script = "hostname; id -u; exit 5"
    assert podman.run("--hostname", "box", "box", "sh", "-c", script, code=5).startswith("box\n0\n")
    assert "executable file not found in $PATH" in podman.run("box", "nosuch", code=127)
    assert "permission denied" in podman.run("box", "/etc/passwd", code=126)


def test_exec_and_terminals(podman: Podman) -> None:
    podman.run("--detach", "--name", "c", "box", "sleep", "100")
    assert (
        podman("exec", "--user", "ann", "--env", "A=b", "c", "sh", "-c", "id -un; echo $A; exit 3", code=3)
        == "ann\nb\n"
    )
    assert podman("exec", "--tty", "c", "sh", "-c", "tty; exit 4", code=4).strip() == "/dev/pts/0"
    assert podman.run("--tty", "box", "tty").strip() == "/dev/pts/0"
    podman("rm", "--force", "--time", "0", "c")


def test_a_life(podman: Podman) -> None:
    trap = "trap 'echo bye; exit 3' TERM; echo here; while true; do sleep 0.1; done"
    podman.run("--detach", "--name", "life", "box", "sh", "-c", trap)
    podman.until("here", "logs", "life")
    podman("pause", "life")
    assert podman("inspect", "--format", "{{.State.Status}}", "life") == "paused\n"
    podman("unpause", "life")
    assert "trap" in podman("top", "life", "args")
    podman("stop", "life")
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "life") == "3\n" and "bye" in podman("logs", "life")
    podman("start", "life")
    podman("restart", "--time", "1", "life")
    podman("kill", "--signal", "KILL", "life")
    assert podman("wait", "life") == "137\n"
    podman("rm", "life")


def test_a_deaf_container_is_killed_in_the_end(podman: Podman) -> None:
    podman.run("--detach", "--name", "deaf", "box", "sh", "-c", "trap '' TERM; while true; do sleep 0.1; done")
    podman("stop", "--time", "1", "deaf")
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "deaf") == "137\n"
    podman("rm", "deaf")


def test_limits_update_and_figures(podman: Podman) -> None:
    limits = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "20"]
    podman.run("--detach", "--name", "limits", *limits, "box", "sleep", "100")

    def files(*names: str) -> list[str]:
        return podman("exec", "limits", "cat", *(f"/sys/fs/cgroup/{name}" for name in names)).split()

    if V1:
        memory, pids, cpu = "memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us"
        assert files(memory, pids, cpu) == [str(64 << 20), "20", "50000"]
        podman("update", "--memory", "96m", "--memory-swap", "96m", "--cpus", "1", "limits")
        assert files(memory, cpu) == [str(96 << 20), "100000"]
    (figures,) = json.loads(podman("stats", "--no-stream", "--format", "json", "limits"))
    # The limit of its own record, in which podman 4 keeps that of the beginning.
    assert figures["pids"] == "1" and figures["mem_usage"].endswith((" / 67.11MB", " / 100.7MB"))
    podman("rm", "--force", "--time", "0", "limits")


def test_who_the_process_is(podman: Podman) -> None:
    given = podman.run("--user", "ann", "--group-add", "60", "--cap-drop", "all", *STATUS)
    assert "Uid: 1000" in given and "CapBnd: 0000000000000000" in given and "Seccomp: 2" in given
    given = podman.run("--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges", *STATUS)
    assert "Seccomp: 0" in given and "NoNewPrivs: 1" in given
    assert "CapEff: 0000000000003000" in podman.run("--cap-drop=all", "--cap-add=net_admin,net_raw", *STATUS)
    if init := shutil.which("docker-init"):
        assert "/run/podman-init -- ps" in podman.run("--init", "--init-path", init, "box", "ps")


def test_a_profile_of_ones_own(podman: Podman, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    refused = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    told = podman.run("--security-opt", f"seccomp={profile}", "box", "mkdir", "/new", code=1)
    assert "No space left on device" in told


def test_file_systems(podman: Podman, tmp_path: Path) -> None:
    assert "Read-only file system" in podman.run("--read-only", "box", "touch", "/file", code=1)
    assert podman.run("--read-only", "--tmpfs", "/mnt:size=1m", "box", "sh", "-c", "touch /mnt/a; ls /mnt") == "a\n"
    (tmp_path / "seen").touch()
    for propagation in ("rprivate", "rslave", "rshared"):
        assert podman.run("--volume", f"{tmp_path}:/in:ro,{propagation}", "box", "ls", "/in") == "seen\n"
    assert podman.run("--volume", "data:/data", "box", "sh", "-c", "touch /data/x; ls /data") == "x\n"
    assert podman.run("--volume", "data:/data", "box", "ls", "/data") == "x\n"


def test_namespaces_of_others(podman: Podman) -> None:
    podman.run("--detach", "--name", "first", "box", "sleep", "1234")
    seen = podman.run(
        "--pid", "container:first", "--ipc", "container:first", "--uts", "host", "box", "sh", "-c", "ps; hostname"
    )
    assert "sleep 1234" in seen and os.uname().nodename in seen
    assert "sleep 1234" in podman.run("--pid", "host", "--ipc", "host", "box", "ps")
    podman("rm", "--force", "--time", "0", "first")


def test_user_namespaces(podman: Podman) -> None:
    read = ["box", "cat", "/proc/self/uid_map", "/proc/self/gid_map"]
    assert podman.run("--uidmap", "0:3000000:5000", *read).split()[:3] == ["0", "3000000", "5000"]
    mapped = podman.run("--userns", "auto", *read).split()
    assert mapped[0] == "0" and int(mapped[1]) >= 2000000


def test_health(podman: Podman) -> None:
    podman.run(
        "--detach",
        "--name",
        "health",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "disable",
        "box",
        "sleep",
        "100",
    )
    podman("healthcheck", "run", "health", code=1)
    podman("exec", "health", "touch", "/tmp/well")
    podman("healthcheck", "run", "health")
    podman("rm", "--force", "--time", "0", "health")


def test_pods_and_a_bridge(podman: Podman) -> None:
    parent = f"/{podman.parent}"
    podman("network", "create", "--disable-dns", "net")  # its server of names is a package of its own
    podman(
        "pod",
        "create",
        "--name",
        "pod",
        "--network",
        "net",
        "--publish",
        "8080:80",
        "--cgroup-parent",
        parent,
        "--infra-image",
        "box",
        "--infra-command",
        "sleep 1000",
    )
    serve = "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"
    podman("run", "--detach", "--pod", "pod", "--name", "web", "box", "sh", "-c", serve)
    fetch = "i=0; until wget -qO- http://127.0.0.1; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.2; done"
    assert podman("run", "--rm", "--pod", "pod", "box", "sh", "-c", fetch) == "hello\n"
    answer = podman.host.run(lambda: urllib.request.urlopen("http://10.98.0.1:8080", timeout=60).read())
    assert answer == b"hello\n"
    podman("pod", "rm", "--force", "--time", "0", "pod")


def test_an_image_is_built(podman: Podman, tmp_path: Path) -> None:
    lines = [
        "FROM box",
        "RUN echo made > /made && mkdir /w",
        "WORKDIR /w",
        "USER ann",
        'CMD ["sh", "-c", "cat /made; pwd; id -u"]',
    ]
    (tmp_path / "Containerfile").write_text("\n".join(lines))
    runtime = f"{podman.directory}/ground-runtime"
    podman(
        "build",
        "--quiet",
        "--network",
        "none",
        "--runtime",
        runtime,
        "--isolation",
        "oci",
        *(word for limit in LIMITS for word in ("--ulimit", limit)),
        "--tag",
        "made",
        str(tmp_path),
    )
    assert podman.run("made") == "made\n/w\n1000\n"
