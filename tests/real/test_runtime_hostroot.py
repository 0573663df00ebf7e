"""A container without a mount namespace: what it mounts is the host's to see, and is gone when it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.bundles import Box, CommandLine

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def box(box: Box) -> Iterator[Box]:
    box.without_namespace("mount")
    box.linux["maskedPaths"] = box.linux["readonlyPaths"] = []
    box.process["args"] = ["sleep", "60"]
    box.save()
    yield box
    for _ in range(mounts(box)):
        subprocess.run(["umount", "-l", str(box.root)], check=False, capture_output=True)


def mounts(box: Box) -> int:
    """How many mounts lie at or below the root."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sum(f"{point}/".startswith(f"{box.root}/") for point in points)


def test_it_inherits_the_callers_mount_namespace(box: Box, ground: CommandLine) -> None:
    """config-linux.md, "Namespaces": a type that is not listed MUST be inherited."""
    assert ground("run", "--detach", "c", cwd=box.directory).returncode == 0
    pid = json.loads(ground("state", "c").stdout)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    assert mounts(box) > 4
    assert ground("exec", "c", "ls", "/").stdout.split() == ["bin", "dev", "proc", "sys"]
    assert ground("exec", "c", "touch", "/x").returncode == 1, "the root is read-only"
    assert ground("delete", "--force", "c").returncode == 0
    assert mounts(box) == 0


def test_what_the_caller_had_mounted_there_stays(box: Box, ground: CommandLine) -> None:
    subprocess.run(["mount", "--bind", str(box.root), str(box.root)], check=True)
    try:
        assert ground("run", "--detach", "c", cwd=box.directory).returncode == 0
        assert mounts(box) > 4
        assert ground("delete", "--force", "c").returncode == 0
        assert mounts(box) == 1
    finally:
        subprocess.run(["umount", str(box.root)], check=True)


def test_a_run_to_its_end(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["sh", "-c", "echo here; exit 4"]
    box.save()
    done = ground("run", "c", cwd=box.directory)
    assert (done.returncode, done.stdout) == (4, "here\n")
    assert mounts(box) == 0


def test_a_mount_namespace_by_path(box: Box, ground: CommandLine) -> None:
    """Its other inhabitants keep their root; the container's is below, for init and for who is beside it."""
    holder = subprocess.Popen(["unshare", "--mount", "--fork", "sleep", "60"])
    try:
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        while not (pids := children.read_text().split()):
            pass
        box.namespace("mount", f"/proc/{pids[0]}/ns/mnt")
        box.save()
        assert ground("run", "--detach", "c", cwd=box.directory).returncode == 0
        pid = json.loads(ground("state", "c").stdout)["pid"]
        assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{pids[0]}/ns/mnt")
        assert os.path.exists(f"/proc/{pids[0]}/root/etc/hostname")
        done = ground("exec", "c", "sh", "-c", "ls /; readlink /proc/self/cwd")
        assert done.stdout.split() == ["bin", "dev", "proc", "sys", "/"], done.stderr
        assert mounts(box) == 0, "the host sees none of it"
        assert ground("delete", "--force", "c").returncode == 0
    finally:
        subprocess.run(["kill", "-9", *pids], check=False)
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("trouble", ["program", "mount", "hook"])
def test_a_failed_creation_leaves_no_mount(box: Box, ground: CommandLine, trouble: str) -> None:
    if trouble == "program":
        box.process["args"] = ["nosuch"]
    elif trouble == "mount":
        box.mount("/x", "nofs", "nofs")
    else:
        box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    box.save()
    assert ground("run", "c", cwd=box.directory).returncode == 1
    assert mounts(box) == 0


def test_paths_cannot_be_hidden_from_it(box: Box, ground: CommandLine) -> None:
    box.linux["maskedPaths"] = ["/proc/kcore"]
    box.save()
    done = ground("create", "c", cwd=box.directory)
    assert done.returncode == 1
    assert "unable to restrict sys entries without a private MNT namespace" in done.stderr
