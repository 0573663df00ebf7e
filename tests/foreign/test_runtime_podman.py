"""podman on top of `ground-runtime`: the calls and files that a foreign engine relies on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundplane.kernel.cgroups import registry

pytestmark = pytest.mark.needs("root", "cgroups", "podman", "busybox")

CONFIG = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


class Podman:
    """podman with a storage of its own, one image of busybox, and our runtime."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.parent = f"ground-test-podman-{os.getpid()}"
        runtime = directory / "ground-runtime"
        runtime.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m groundplane.runtime.main --root {directory}/state "$@"\n'
        )
        runtime.chmod(0o755)
        (directory / "containers.conf").write_text(CONFIG)
        self._words = ["podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run"]
        self._words += ["--tmpdir", f"{directory}/tmp", "--storage-driver", "vfs", "--runtime", str(runtime)]
        root = directory / "image/bin"
        root.mkdir(parents=True)
        shutil.copy(str(shutil.which("busybox")), root / "busybox")
        for name in ("sh", "id", "cat", "sleep", "hostname", "tty", "true"):
            (root / name).symlink_to("busybox")
        subprocess.run(["tar", "-C", directory / "image", "-cf", directory / "image.tar", "."], check=True)
        assert self("import", "--quiet", str(directory / "image.tar"), "box").returncode == 0

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            environment = {**os.environ, "CONTAINERS_CONF": f"{self.directory}/containers.conf"}
            done = subprocess.run(
                [*self._words, *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=60,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, done.returncode, out.read(), err.read())

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self("run", "--net", "none", "--cgroup-parent", f"/{self.parent}", *words)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    podman = Podman(directory)
    try:
        yield podman
    finally:
        podman("rm", "--force", "--all", "--time", "0")
        podman("rmi", "--force", "--all")
        groups = registry.detect()
        groups.kill(podman.parent)
        groups.remove(podman.parent)
        mounts = Path("/proc/self/mountinfo").read_text()
        for line in reversed(mounts.splitlines()):
            if (point := line.split()[4]).startswith(str(directory)):
                subprocess.run(["umount", point], check=False)
        shutil.rmtree(directory)


def test_run_and_its_code(podman: Podman) -> None:
    done = podman.run("--rm", "--hostname", "box", "box", "sh", "-c", "hostname; id -u; exit 5")
    assert (done.returncode, done.stdout) == (5, "box\n0\n"), done.stderr


def test_a_program_that_does_not_exist_is_127(podman: Podman) -> None:
    done = podman.run("--rm", "box", "nosuch")
    assert done.returncode == 127
    assert "executable file not found in $PATH" in done.stderr


def test_limits_user_and_default_profile(podman: Podman) -> None:
    script = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; id -u; cat /proc/self/status"
    )
    done = podman.run("--rm", "--memory", "64m", "--pids-limit", "20", "--user", "7:8", "box", "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[:3] == [str(64 << 20), "20", "7"], done.stderr
    assert "Seccomp:\t2" in lines


def test_exec_with_and_without_a_terminal(podman: Podman) -> None:
    assert podman.run("--detach", "--name", "c", "box", "sleep", "100").returncode == 0
    done = podman("exec", "c", "sh", "-c", "echo in; exit 3")
    assert (done.returncode, done.stdout) == (3, "in\n"), done.stderr
    done = podman("exec", "--tty", "c", "sh", "-c", "tty; exit 4")
    assert (done.returncode, done.stdout.strip()) == (4, "/dev/pts/0"), done.stderr
    assert podman("rm", "--force", "--time", "0", "c").returncode == 0


def test_a_terminal_of_its_own(podman: Podman) -> None:
    done = podman.run("--rm", "--tty", "box", "tty")
    assert (done.returncode, done.stdout.strip()) == (0, "/dev/pts/0"), done.stderr
