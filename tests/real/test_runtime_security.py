"""Techniques by which containers have reached the host, each tried: the image's and the container's side is hostile."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.real.bundles import Box, CommandLine, Streams, reap

from groundplane.kernel.cgroups import registry
from groundplane.runtime.beside import exec_process
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.mark.parametrize("target", ["/etc", "../../../../etc", "/proc/self/cwd/etc", "/proc/1/root/etc"])
def test_a_mount_point_behind_a_link_stays_inside(box: Box, target: str) -> None:
    """CVE-2019-16884, CVE-2021-30465: the image's link must not carry a mount onto the host's directory."""
    before = sorted(os.listdir("/etc"))
    (box.root / "trap").symlink_to(target)
    box.mount("/trap/ground-made", "tmpfs", "tmpfs")
    try:
        box.run("true")
    except LaunchError as error:
        assert "error mounting" in str(error)
    box.delete()
    assert sorted(os.listdir("/etc")) == before


def test_a_device_behind_a_link_stays_inside(box: Box) -> None:
    outside = box.directory / "outside"
    outside.mkdir()
    box.config["mounts"] = [m for m in box.config["mounts"] if not m["destination"].startswith("/dev")]
    (box.root / "dev").symlink_to(outside)
    box.run("true")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("cwd", ["/proc/self/fd/7", "/proc/self/fd/8/../../etc", "/proc/1/cwd"])
def test_a_working_directory_through_a_descriptor_leads_nowhere(box: Box, cwd: str) -> None:
    """CVE-2024-21626: a descriptor of a host directory that the runtime has open."""
    leak = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leak, True)
    box.process["cwd"] = cwd
    try:
        result = box.run(script="ls . ; readlink /proc/self/cwd")
        assert "etc" not in result.lines
    except LaunchError as error:
        assert "no such file" in str(error) or "too many levels" in str(error)
    finally:
        os.close(leak)
    box.delete()


def test_masks_are_not_made_with_a_link_for_dev_null(box: Box) -> None:
    """CVE-2025-31133: /dev/null as a link would show what the mask should hide, or expose another file."""
    box.config["mounts"] = [m for m in box.config["mounts"] if m["destination"] != "/dev"]
    box.config["mounts"].insert(1, {"destination": "/dev", "type": "bind", "source": "dev", "options": ["bind"]})
    (box.directory / "dev").mkdir()
    for name in ("pts", "shm", "mqueue"):
        (box.directory / "dev" / name).mkdir()
    (box.directory / "dev/null").symlink_to("/proc/sysrq-trigger")
    with pytest.raises(LaunchError, match="masking paths"):
        box.create()


def test_a_sysctl_is_not_redirected_by_what_is_mounted_over_proc(box: Box) -> None:
    """CVE-2025-52881: the write must reach the real parameter, whatever lies over the path.

    A document cannot ask for such a mount; a container that shares a volume could race for one. The hook, which runs in
    the new mount namespace, stands in for the winner of that race.
    """
    decoy = box.directory / "decoy"
    decoy.write_text("untouched")
    target = f"{box.root}/proc/sys/net/ipv4/ip_forward"
    hook = {"path": "/bin/mount", "args": ["mount", "--bind", str(decoy), target]}
    box.config["hooks"] = {"createContainer": [hook]}
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.linux["readonlyPaths"] = []
    script = "cat /proc/sys/net/ipv4/ip_forward; grep -c ip_forward /proc/self/mountinfo"
    assert box.run(script=script).lines == ["untouched1"], "the decoy is there"
    assert decoy.read_text() == "untouched"


def test_the_runtimes_process_cannot_be_looked_into(box: Box) -> None:
    """CVE-2016-9962: between joining the namespaces and the program, /proc/PID must show nothing to the container."""
    created = box.create()
    try:
        status = Path(f"/proc/{created.pid}").stat()
        # A process that is not dumpable belongs to root and refuses ptrace to all without CAP_SYS_PTRACE.
        assert status.st_uid == 0
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "ls", f"/proc/{created.pid}/fd"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
    finally:
        created.abort()
        box.delete()


ESCAPE = """
import os
print("read-only mount", bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY))
try:
    fd = os.open("/proc/self/exe", os.O_WRONLY)
    print("open for writing")
except OSError as error:
    print("refused", error.errno)
try:
    os.link("/proc/self/exe", "/stolen", follow_symlinks=True)
    print("linked")
except OSError as error:
    print("refused", error.errno)
"""


def execute_the_executor(box: Box, trick: str) -> subprocess.CompletedProcess[str]:
    """CVE-2019-5736: the container makes the runtime execute /proc/self/exe, which is the host's Python.

    The container gets the host's libraries here, so that the attack runs at all.
    """
    for name in ("usr", "lib", "lib64", "root"):
        if os.path.isdir(f"/{name}"):
            box.mount(f"/{name}", "bind", f"/{name}", "rbind", "ro")
    box.config["root"]["readonly"] = False
    if trick == "link":
        (box.root / "evil").symlink_to("/proc/self/exe")
        box.process["args"] = ["/evil", "-I", "-S", "-c", ESCAPE]
    else:
        box.write("evil", f"#!/proc/self/exe -IS\n{ESCAPE}")
        box.process["args"] = ["/evil"]
    box.process["env"] += [f"PYTHONHOME={os.path.dirname(os.path.dirname(os.path.realpath('/proc/self/exe')))}"]
    box.save()
    try:
        return CommandLine(box.directory / "state")("run", "--bundle", str(box.directory), "evil")
    finally:
        shutil.rmtree(box.directory / "state")


@pytest.mark.parametrize("trick", ["link", "script"])
def test_the_hosts_interpreter_is_not_what_is_executed(box: Box, trick: str) -> None:
    """The executor is a file in memory that knows one thing to do, and is told nothing that makes sense."""
    done = execute_the_executor(box, trick)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("trick", ["link", "script"])
def test_the_hosts_interpreter_cannot_be_overwritten(box: Box, trick: str) -> None:
    """Where Python is the executor, here because of a hook, its file is on a read-only mount.

    While the interpreter is executed anywhere the kernel refuses to write to it (ETXTBSY) before it looks at the mount;
    what keeps it so once nothing executes it is the mount, so the mount is what is looked at.
    """
    box.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    done = execute_the_executor(box, trick)
    answers = done.stdout.split("\n")
    assert answers[0] == "read-only mount True", done.stdout + done.stderr
    assert [answer.split()[0] for answer in answers[1:3]] == ["refused", "refused"]


def test_an_exec_gives_the_container_no_descriptor_of_the_host(box: Box) -> None:
    leak = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leak, True)
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    try:
        with Streams() as streams:
            process = {**box.process, "args": ["sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done; true"]}
            beside = exec_process(created.pid, process, stdio=streams.child, cgroup=box.cgroup)
            beside.start()
            targets = [line for line in streams.read().splitlines() if line]
            assert reap(beside) == 0
        assert "/" not in targets
        assert len(targets) <= 4
    finally:
        os.close(leak)
        os.kill(created.pid, 9)
        reap(created)
        box.delete()


def test_what_forks_while_it_is_killed_is_ended_too(box: Box) -> None:
    """Every process makes children as fast as it can, up to the limit; `delete` must leave none of them."""
    box.without_namespace("pid")  # so that the end of init does not end the others
    box.linux["resources"]["pids"] = {"limit": 60}
    loop = "for i in 1 2 3 4 5 6 7 8 9; do busybox sh -c 'while :; do busybox true; done' & done; wait"
    box.process["args"] = ["sh", "-c", loop]
    created = box.create()
    created.start()
    groups = registry.detect()
    deadline = time.monotonic() + 60
    while len(groups.processes(box.cgroup)) < 10:
        assert time.monotonic() < deadline, "it does not fork"
    os.kill(created.pid, 9)
    reap(created)
    assert groups.processes(box.cgroup), "they outlive init"
    box.delete()
