"""What outside suites (runc's scripts, the OCI validation programs) found missing, over the cold command line."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path

import pytest
from tests.real.bundles import COMMAND, Box, CommandLine

from groundplane.kernel.cgroups import registry

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


def run(box: Box, ground: CommandLine, *args: str) -> str:
    """What a container of these words writes; it must end with 0."""
    box.process["args"] = list(args)
    box.save()
    done = ground("run", "--bundle", str(box.directory), "c")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_terminals_first_line_has_no_carriage_return(box: Box, ground: CommandLine) -> None:
    box.process["terminal"] = True
    for _ in range(3):  # it was a race
        assert run(box, ground, "echo", "first") == "first\n"


def test_a_file_is_bound_where_a_dangling_link_leads(box: Box, ground: CommandLine) -> None:
    (box.root / "etc").mkdir()
    (box.root / "etc/resolv.conf").symlink_to("../../../run/made/by/nobody")
    (box.root / "run").symlink_to("/deep/run")
    (box.directory / "source").write_text("bound\n")
    box.mount("/etc/resolv.conf", "bind", str(box.directory / "source"), "bind")
    assert run(box, ground, "cat", "/etc/resolv.conf", "/deep/run/made/by/nobody") == "bound\nbound\n"
    assert not Path("/run/made").exists()


def test_links_in_a_circle_are_an_error(box: Box, ground: CommandLine) -> None:
    for name, target in (("a", "b"), ("b", "a")):
        (box.root / name).symlink_to(target)
    box.mount("/a", "bind", "/etc/hostname", "bind")
    box.save()
    done = ground("run", "--bundle", str(box.directory), "c")
    assert done.returncode == 1 and "too many levels of symbolic links" in done.stderr


def test_a_hook_inside_the_container_reads_the_state(box: Box, ground: CommandLine) -> None:
    box.config["root"]["readonly"] = False
    box.config["annotations"] = {"a.key": 'with "quotes" and ü'}
    box.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/state"]}]}
    state = json.loads(run(box, ground, "cat", "/state"))
    assert (state["id"], state["status"], state["pid"]) == ("c", "created", 1)
    assert state["annotations"] == {"a.key": 'with "quotes" and ü'}


def test_an_empty_home_is_the_users(box: Box, ground: CommandLine) -> None:
    box.write("/etc/passwd", "root:x:0:0::/of-root:/bin/sh\n")
    box.process["env"].append("HOME=")
    assert run(box, ground, "sh", "-c", "echo $HOME") == "/of-root\n"


def test_a_created_container_can_be_told_to_end(box: Box, ground: CommandLine) -> None:
    box.save()
    assert ground("create", "--bundle", str(box.directory), "c").returncode == 0
    pidfd = os.pidfd_open(json.loads(ground("state", "c").stdout)["pid"])
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert ground("kill", "c", "TERM").returncode == 0
    assert poll.poll(10_000)
    os.close(pidfd)
    assert json.loads(ground("state", "c").stdout)["status"] == "stopped"


def test_a_profile_without_faccessat2_hides_no_program(box: Box, ground: CommandLine) -> None:
    box.process["noNewPrivileges"] = False
    refused = {"names": ["faccessat2"], "action": "SCMP_ACT_ERRNO"}
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}
    assert run(box, ground, "echo", "found") == "found\n"


@pytest.mark.parametrize("user", [0, 1000])
def test_a_profile_is_about_the_program_and_not_about_its_making(box: Box, ground: CommandLine, user: int) -> None:
    box.process.update(noNewPrivileges=False, user={"uid": user, "gid": user, "additionalGids": [7]}, cwd="/bin")
    box.process["capabilities"] = {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}
    names = ["getcwd", "chdir", "setresuid", "setresgid", "setgroups", "umask", "fchown", "faccessat2", "stat"]
    refused = {"names": names, "action": "SCMP_ACT_ERRNO"}
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}
    told = run(box, ground, "grep", "-E", "^(Uid|Groups|Cap|Seccomp:)", "/proc/self/status").split("\n")
    none, kill = f"{0:016x}", f"{1 << 5:016x}"
    got = none if user else kill  # execve(2) gives root what its bounding set allows
    assert told[:2] == [f"Uid:\t{user}\t{user}\t{user}\t{user}", "Groups:\t7 "]
    assert told[2:] == [
        f"CapInh:\t{kill}",
        f"CapPrm:\t{got}",
        f"CapEff:\t{got}",
        f"CapBnd:\t{kill}",
        f"CapAmb:\t{none}",
        "Seccomp:\t2",
        "",
    ]


def test_debug_says_where_it_is(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["true"]
    box.save()
    log = box.directory / "log"
    options = ["--debug", "--log", str(log), "--log-format", "json"]
    assert ground(*options, "run", "--bundle", str(box.directory), "c").stderr == ""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["level"] == "debug" and "is set up and waits" in line["msg"] for line in lines)


def test_a_frozen_group_is_refused_and_not_waited_for(box: Box, ground: CommandLine) -> None:
    groups = registry.detect()
    groups.create(box.cgroup)
    groups.freeze(box.cgroup)
    box.process["args"] = ["true"]
    box.save()
    done = ground("run", "--bundle", str(box.directory), "c")
    assert done.returncode == 1 and "container's cgroup unexpectedly frozen" in done.stderr
    groups.thaw(box.cgroup)
    groups.remove(box.cgroup)


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two CPUs")
def test_the_callers_cpus_are_not_the_containers(box: Box) -> None:
    bound = CommandLine(box.directory / "state", ["taskset", "--cpu-list", "0", *COMMAND])
    assert run(box, bound, "grep", "Cpus_allowed_list", "/proc/self/status").split()[1] != "0"


def test_a_hook_that_a_signal_ends_says_which(box: Box, ground: CommandLine) -> None:
    box.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $$"]}]}
    box.save()
    done = ground("run", "--bundle", str(box.directory), "c")
    assert done.returncode == 1 and "error running startContainer hook #0: signal: killed" in done.stderr


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_owners_are_mapped_of_what_an_earlier_mount_put_there(box: Box, ground: CommandLine, kind: str) -> None:
    (box.directory / "source").mkdir()
    (box.directory / "source/file").write_text("")
    if kind == "tmpfs":
        box.mount("/tmp", "tmpfs", "tmpfs", "mode=755")
    else:
        box.mount("/tmp", "bind", str(box.directory / "source"), "bind")
    box.mount("/mnt", "bind", str(box.root / "tmp"), "bind")
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    box.config["mounts"][-1] |= {"uidMappings": mapping, "gidMappings": mapping}
    box.directory.chmod(0o700)
    assert run(box, ground, "stat", "-c", "%u %g", "/tmp", "/mnt") == "0 0\n100000 100000\n"
