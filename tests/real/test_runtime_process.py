"""The process as config.md's `process` describes it: scheduling, CPUs, execution domain, limits, labels, keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.bundles import Box, Streams, reap

from groundplane.runtime.beside import exec_process
from groundplane.runtime.created import Created
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


def stat(out: str) -> list[str]:
    """Fields of /proc/PID/stat from the third on; nice is [16], policy [38], real-time priority [37]."""
    return out.rpartition(") ")[2].split()


@pytest.mark.parametrize(
    ("scheduler", "policy", "nice"),
    [
        ({"policy": "SCHED_OTHER", "nice": -3}, 0, -3),
        ({"policy": "SCHED_BATCH", "nice": 7}, 3, 7),
        ({"policy": "SCHED_IDLE"}, 5, os.nice(0)),
        ({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, 3, 0),
    ],
)
def test_scheduling(box: Box, scheduler: dict[str, Any], policy: int, nice: int) -> None:
    box.process["scheduler"] = scheduler
    fields = stat(box.run("cat", "/proc/self/stat").out)
    assert (int(fields[38]), int(fields[16])) == (policy, nice)


def test_a_nice_value_that_does_not_outlive_a_fork(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_OTHER", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    out = box.run(script="cat /proc/$$/stat; cat /proc/self/stat; true").lines
    assert [stat(line)[16] for line in out] == ["-3", "0"]


def test_a_real_time_policy(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_RR", "priority": 5}
    try:
        fields = stat(box.run("cat", "/proc/self/stat").out)
        assert (fields[38], fields[37]) == ("2", "5")
    except LaunchError as error:  # a kernel that shares real time out by cgroup gives new groups none
        assert "sched_setattr policy 2 priority 5" in str(error)


def test_a_deadline_that_cannot_be_met_is_one_sentence(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 5, "period": 5}
    with pytest.raises(LaunchError, match=r"setting the scheduling policy: sched_setattr policy 6 .*invalid arg"):
        box.create()


def test_a_deadline_and_cpus_exclude_each_other(box: Box) -> None:
    box.linux["resources"] = {"cpu": {"cpus": str(min(os.sched_getaffinity(0)))}}
    box.process["scheduler"] = {"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1000000, "period": 1000000}
    try:
        assert stat(box.run("cat", "/proc/self/stat").out)[38] == "6"  # that is all the CPUs there are
    except LaunchError as error:
        assert "process scheduler can't be used together with AllowedCPUs" in str(error)


@pytest.mark.parametrize(
    ("name", "says"), [("RT", "realtime: prio 3"), ("BE", "best-effort: prio 3"), ("IDLE", "idle")]
)
def test_priority_of_input_and_output(box: Box, name: str, says: str) -> None:
    box.process["ioPriority"] = {"class": f"IOPRIO_CLASS_{name}", "priority": 3}
    assert box.run("busybox", "ionice").out.strip().startswith(says)


def test_the_execution_domain(box: Box) -> None:
    box.linux["personality"] = {"domain": "LINUX32"}
    machine = {"x86_64": "i686", "aarch64": "armv8l"}[os.uname().machine]
    assert box.run("busybox", "uname", "-m").out.strip() == machine
    box.linux["personality"] = {"domain": "LINUX"}
    assert box.run("busybox", "uname", "-m").out.strip() == os.uname().machine


def beside(box: Box, created: Created, process: dict[str, Any], **more: Any) -> str:
    """What a process of exec writes."""
    with Streams() as streams:
        one = exec_process(created.pid, {**box.process, **process}, stdio=streams.child, cgroup=box.cgroup, **more)
        one.start()
        out = streams.read()
        reap(one)
    return out


@pytest.fixture
def running(box: Box) -> Iterator[Created]:
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    yield created
    os.kill(created.pid, 9)
    reap(created)
    box.delete()


def test_the_execution_domain_of_exec(box: Box, running: Created) -> None:
    out = beside(box, running, {"args": ["busybox", "uname", "-m"]}, personality="LINUX32")
    assert out.strip() in ("i686", "armv8l")


def test_the_cpus_of_exec(box: Box, running: Created) -> None:
    """config.md, "execCPUAffinity": `final` once it is in the container's cgroup; `initial` alone stays."""
    last = max(os.sched_getaffinity(0))
    look = {"args": ["grep", "Cpus_allowed_list", "/proc/self/status"]}
    assert beside(box, running, {**look, "execCPUAffinity": {"final": str(last)}}).split()[1] == str(last)
    assert beside(box, running, {**look, "execCPUAffinity": {"initial": "0", "final": "0"}}).split()[1] == "0"
    with pytest.raises(LaunchError, match=r"execCPUAffinity.final: '3-1' is no list of CPUs"):
        beside(box, running, {**look, "execCPUAffinity": {"final": "3-1"}})
    with pytest.raises(LaunchError, match=r"sched_setaffinity CPUs \(8000,\): invalid argument"):
        beside(box, running, {**look, "execCPUAffinity": {"final": "8000"}})


def test_a_hard_limit_above_our_own_is_refused_and_not_passed_over(box: Box) -> None:
    """Needs CAP_SYS_RESOURCE; a host without it says so (config.md, "rlimits": MUST generate an error)."""
    box.process["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 2**63, "hard": 2**63}]
    from groundplane.kernel import caps

    if caps.current()["CapEff"] >> caps.NUMBERS["CAP_SYS_RESOURCE"] & 1:
        assert box.run("true").code == 0
        return
    with pytest.raises(LaunchError, match=r"error setting rlimits for ready process: .*operation not permitted"):
        box.create()


def test_a_soft_limit_above_the_hard_one(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]
    with pytest.raises(LaunchError, match="prlimit64 RLIMIT_NOFILE soft 20 hard 10: invalid argument"):
        box.create()


def test_the_oom_score_stays_where_the_document_says_nothing(box: Box) -> None:
    Path("/proc/self/oom_score_adj").write_text("77")
    try:
        assert box.run("cat", "/proc/self/oom_score_adj").out == "77\n"
    finally:
        Path("/proc/self/oom_score_adj").write_text("0")


def test_a_session_keyring_of_its_own_or_the_callers(box: Box) -> None:
    """runc's --no-new-keyring. /proc/keys lists what root may view, so it is the name that tells."""
    box.linux["maskedPaths"] = []
    box.process["args"] = ["cat", "/proc/keys"]
    for keyring in (False, True):
        with Streams() as streams:
            created = box.create(streams.child, keyring=keyring)
            created.start()
            out = streams.read()
            reap(created)
        box.delete()
        assert (f"_ses.{box.id}" in out) == keyring


def test_annotations_change_nothing(box: Box) -> None:
    box.config["annotations"] = {"run.oci.keep_original_groups": "1", "x": ""}
    assert box.run("id", "-u").out == "0\n"


def test_what_is_for_other_systems_is_passed_over(box: Box) -> None:
    """config.md: other platforms' sections, and members that nobody knows (Extensibility)."""
    box.config |= {"windows": {"layerFolders": [""]}, "solaris": {}, "vm": {"kernel": {"path": "/x"}}, "zos": {}}
    box.config["nobodyKnows"] = box.linux["nobodyKnows"] = box.process["nobodyKnows"] = {"a": 1}
    box.process["commandLine"] = "cmd.exe"
    assert box.run("id", "-u").out == "0\n"


@pytest.mark.parametrize(
    ("change", "directory", "sentence"),
    [
        ({"apparmorProfile": "x"}, "/sys/kernel/security/apparmor", "apparmor: config provided but apparmor not supp"),
        ({"selinuxLabel": "x:y:z:s0"}, "/sys/fs/selinux", "selinux label is specified in config, but selinux is disa"),
    ],
)
def test_labels_are_an_error_where_the_kernel_has_no_use_for_them(
    box: Box, change: dict[str, str], directory: str, sentence: str
) -> None:
    if os.path.isdir(directory):
        pytest.skip("this kernel has it")
    box.process.update(change)
    with pytest.raises(LaunchError, match=sentence):
        box.create()


def test_a_label_of_mounts_is_an_error_without_selinux(box: Box) -> None:
    if os.path.isdir("/sys/fs/selinux"):
        pytest.skip("this kernel has it")
    box.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
    with pytest.raises(LaunchError, match="selinux is disabled or not supported"):
        box.create()


def test_intel_rdt_is_refused(box: Box) -> None:
    box.linux["intelRdt"] = {"closID": "x"}
    with pytest.raises(LaunchError, match="Intel RDT is not supported"):
        box.create()


# Devices.


def test_a_file_in_the_way_of_a_device_is_an_error(box: Box) -> None:
    """config-linux.md, "Devices": a file that does not match the requested device."""
    box.write("/here", "text")
    for device in ({"type": "p"}, {"type": "c", "major": 1, "minor": 3}):
        box.linux["devices"] = [{"path": "/here", **device}]
        with pytest.raises(LaunchError, match="/here: exists in the image and is not the device asked for"):
            box.create()


def test_devices_anywhere_and_of_every_type(box: Box) -> None:
    box.linux["devices"] = [
        {"path": "/srv/block", "type": "b", "major": 7, "minor": 0, "fileMode": 0o060600},  # with the type's bits
        {"path": "/srv/char", "type": "u", "major": 1, "minor": 3},
        {"path": "/srv/queue", "type": "p", "fileMode": 0o622, "uid": 3, "gid": 4},
    ]
    out = box.run(script="stat -c '%F %a %t:%T %u %g' /srv/*").lines
    assert out[0] == "block special file 600 7:0 0 0"
    assert out[1] == "character special file 666 1:3 0 0"
    assert out[2] == "fifo 622 0:0 3 4"


def test_devices_in_a_user_namespace_are_the_hosts(box: Box) -> None:
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    box.linux["devices"] = [
        {"path": "/dev/queue", "type": "p"},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7},
    ]
    assert box.run(script="stat -c %F /dev/queue /dev/full /dev/null").lines == [
        "fifo",
        "character special file",
        "character special file",
    ]
    box.linux["devices"] = [{"path": "/dev/full", "type": "c", "major": 1, "minor": 3}]
    with pytest.raises(LaunchError, match="/dev/full: the host has no such device there to bind"):
        box.create()
