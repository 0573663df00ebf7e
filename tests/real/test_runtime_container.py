"""A container as its program sees it: each namespace, mounts, devices, paths, identity, limits; run in-process."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from tests.real.bundles import Box, Streams, reap

from groundplane.kernel import caps
from groundplane.kernel.cgroups import registry
from groundplane.runtime.beside import exec_process
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


# Namespaces.


def test_a_new_namespace_of_each_kind(box: Box) -> None:
    box.namespace("time")
    names = ["pid", "net", "ipc", "uts", "mnt", "cgroup", "time"]
    inside = box.run(script=f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done").lines
    outside = [os.readlink(f"/proc/self/ns/{n}") for n in names]
    assert len(inside) == len(names)
    assert not set(inside) & set(outside)


def test_a_new_network_namespace_has_its_loopback_up(box: Box) -> None:
    assert box.run("cat", "/proc/net/fib_trie").out.count("127.0.0.1") > 0


def test_namespaces_that_are_not_listed_are_the_callers(box: Box) -> None:
    for kind in ("network", "ipc"):
        box.without_namespace(kind)
    inside = box.run(script="readlink /proc/self/ns/net; readlink /proc/self/ns/ipc").lines
    assert inside == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/ipc")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup"), ("time", "time")],
)
def test_a_namespace_by_path(box: Box, kind: str, name: str) -> None:
    holder = subprocess.Popen(["unshare", "--fork", f"--{name}", "sleep", "60"])
    try:
        with open(f"/proc/{holder.pid}/task/{holder.pid}/children") as children:
            while not (pids := children.read().split()):
                children.seek(0)
        path = f"/proc/{pids[0]}/ns/{name}"
        box.namespace(kind, path)
        if kind == "uts":
            del box.config["hostname"]
        own = os.readlink(f"/proc/self/ns/{name}")
        assert box.run("readlink", f"/proc/self/ns/{name}").lines == [os.readlink(path)]
        assert os.readlink(f"/proc/self/ns/{name}") == own
        assert os.readlink("/proc/self/ns/pid_for_children") == os.readlink("/proc/self/ns/pid")
    finally:
        subprocess.run(["kill", "-9", pids[0]], check=False)
        holder.kill()
        holder.wait()


def test_a_user_namespace_with_mappings(box: Box) -> None:
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    out = box.run(
        script="id -u; cat /proc/self/uid_map; stat -L -c %u /proc/self /dev/mqueue; echo x > /dev/null"
    ).lines
    assert out[0] == "0"
    assert out[1].split() == ["0", "100000", "65536"]
    assert out[2:] == ["0", "0"]


def test_a_time_namespace_has_its_offsets(box: Box) -> None:
    box.namespace("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000, "nanosecs": 0}}
    uptime = float(box.run("cat", "/proc/uptime").out.split()[0])
    assert uptime > 1_000_000
    assert os.readlink("/proc/self/ns/time_for_children") == os.readlink("/proc/self/ns/time")


def test_names(box: Box) -> None:
    box.config["hostname"] = "box"
    box.config["domainname"] = "example"
    assert box.run(script="hostname; cat /proc/sys/kernel/domainname").lines == ["box", "example"]


def test_init_is_process_one_and_sees_only_its_own(box: Box) -> None:
    out = box.run(script="echo $$; ls /proc | grep -c '^[0-9]'").lines
    assert out[0] == "1"
    assert int(out[1]) <= 4


# File systems.


def test_the_host_is_out_of_sight(box: Box) -> None:
    out = box.run(script="ls /; cat /proc/self/mountinfo")
    assert "/tmp" not in out.out.replace(str(box.directory), "")
    assert box.run(script="ls /../../..").lines == box.run("ls", "/").lines


def test_mount_options_are_those_asked_for(box: Box) -> None:
    box.mount("/a", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "ro", "noatime", "size=64k", "mode=700")
    box.mount("/b", "tmpfs", "tmpfs", "strictatime", "nodiratime")
    box.mount("/c", "bind", "/etc", "rbind", "ro", "nosuid")
    out = box.run("cat", "/proc/self/mountinfo")
    fields = {line.split()[4]: (set(line.split()[5].split(",")), line.rpartition(" ")[2]) for line in out.lines}
    assert fields["/a"][0] == {"ro", "nosuid", "nodev", "noexec", "noatime"}
    assert "size=64k" in fields["/a"][1]
    assert fields["/b"][0] == {"rw", "nodiratime"}
    assert {"ro", "nosuid"} <= fields["/c"][0]


def test_recursive_attributes_reach_mounts_below(box: Box) -> None:
    source = box.directory / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", str(source / "below")], check=True)
    try:
        box.mount("/soft", "bind", str(source), "rbind", "ro")
        box.mount("/hard", "bind", str(source), "rbind", "rro")
        out = box.run(script="touch /soft/x; touch /soft/below/y && echo wrote; touch /hard/below/z")
        assert "wrote" in out.lines
        assert out.out.count("Read-only file system") == 2
    finally:
        subprocess.run(["umount", str(source / "below")], check=True)


@pytest.mark.parametrize(("option", "field"), [("rprivate", ""), ("rshared", "shared:"), ("rslave", "master:")])
def test_propagation_of_a_bind(box: Box, option: str, field: str) -> None:
    source = box.directory / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "source", str(source)], check=True)
    subprocess.run(["mount", "--make-shared", str(source)], check=True)
    try:
        box.linux["rootfsPropagation"] = "rshared" if option == "rslave" else ""
        box.mount("/m", "bind", str(source), "rbind", option)
        line = next(li for li in box.run("cat", "/proc/self/mountinfo").lines if li.split()[4] == "/m")
        tags = line.split(" - ")[0].split()[6:]
        assert any(t.startswith(field) for t in tags) if field else tags == []
    finally:
        subprocess.run(["umount", str(source)], check=True)


def test_a_file_is_bound_on_a_file(box: Box) -> None:
    (box.directory / "one").write_text("bound")
    box.mount("/deep/er/file", "bind", "one", "bind")  # relative to the bundle
    assert box.run("cat", "/deep/er/file").out == "bound"


def test_tmpfs_keeps_the_mode_of_its_place_and_can_copy_it_up(box: Box) -> None:
    (box.root / "scratch").mkdir()
    (box.root / "scratch").chmod(0o1777)
    box.write("/full/inner/file", "text", 0o640)
    (box.root / "full/link").symlink_to("inner/file")
    box.mount("/scratch", "tmpfs", "tmpfs")
    box.mount("/full", "tmpfs", "tmpfs", "tmpcopyup")
    out = box.run(script="stat -c %a /scratch; stat -c %a /full/inner/file; cat /full/link; touch /full/new")
    assert out.lines == ["1777", "640", "text"]
    assert not (box.root / "full/new").exists()


def test_a_read_only_root(box: Box) -> None:
    assert "Read-only file system" in box.run("touch", "/x").out
    box.config["root"]["readonly"] = False
    assert box.run("touch", "/x").code == 0


def test_the_cgroup_mount_shows_our_group_as_its_root(box: Box) -> None:
    out = box.run(script="cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs 2>/dev/null || echo 1")
    assert all(line.endswith(":/") for line in out.lines if line.count(":") >= 2)
    assert "1" in out.lines
    box.without_namespace("cgroup")
    assert any(line.endswith(box.cgroup) for line in box.run("cat", "/proc/self/cgroup").lines)


def test_devices(box: Box) -> None:
    box.linux["devices"] = [
        {"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/pipe", "type": "p"},
    ]
    box.process["user"] = {"uid": 0, "gid": 0}
    out = box.run(
        script="for d in null zero full random urandom tty; do stat -c '%n %a %t:%T' /dev/$d; done; "
        "stat -c '%n %a %u %g %F' /dev/own /dev/pipe; for l in fd stdin ptmx; do readlink /dev/$l; done"
    ).lines
    assert out[0] == "/dev/null 666 1:3"
    assert out[5] == "/dev/tty 666 5:0"
    assert out[6] == "/dev/own 640 7 8 character special file"
    assert out[7].endswith("fifo")
    assert out[8:] == ["/proc/self/fd", "/proc/self/fd/0", "pts/ptmx"]


def test_devices_that_are_not_allowed_are_refused(box: Box) -> None:
    for name in ("bounding", "effective", "permitted"):
        box.process["capabilities"][name] = ["CAP_MKNOD"]
    box.config["root"]["readonly"] = False
    script = "mknod /kmsg c 1 11; echo x > /kmsg; echo x > /dev/null && echo fine"
    out = box.run(script=script).out
    assert "Operation not permitted" in out
    assert "fine" in out
    box.linux["resources"]["devices"] = [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}]
    assert "not permitted" not in box.run(script="echo x > /kmsg; echo fine").out


def test_masked_and_read_only_paths(box: Box) -> None:
    box.write("/secret/file", "text")
    box.write("/alone", "text")
    box.linux["maskedPaths"] = ["/secret", "/alone", "/absent"]
    box.linux["readonlyPaths"] = ["/proc/sys", "/etc", "/absent"]
    box.write("/etc/x", "text")
    box.config["root"]["readonly"] = False
    out = box.run(
        script="ls /secret | wc -l; cat /alone; touch /secret/x; touch /etc/y; echo 1 > /proc/sys/kernel/domainname"
    )
    assert out.lines[0] == "0"
    assert "text" not in out.out
    assert out.out.count("Read-only file system") == 3


def test_sysctls(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "100", "net/ipv4/ip_default_ttl": "77"}
    out = box.run(
        script="cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_default_ttl"
    ).lines
    assert out == ["1", "100", "77"]


# Identity.


def test_user_groups_umask_and_home(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o077}
    box.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:1000:1001::/home/me:/bin/sh\n", 0o644)
    out = box.run(script="id -u; id -g; grep Groups /proc/self/status; umask; echo $HOME").lines
    assert out == ["1000", "1001", "Groups:\t5 6 ", "0077", "/home/me"]


def test_the_five_capability_sets(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    lines = dict(line.split(":\t") for line in box.run("grep", "^Cap", "/proc/self/status").lines)
    sets = {name: caps.names(int(value, 16)) for name, value in lines.items()}
    assert sets == {
        "CapInh": ["CAP_CHOWN", "CAP_KILL"],
        "CapPrm": ["CAP_KILL"],  # after execve as a user: what is ambient
        "CapEff": ["CAP_KILL"],
        "CapBnd": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "CapAmb": ["CAP_KILL"],
    }


def test_no_capabilities_in_the_document_are_none(box: Box) -> None:
    del box.process["capabilities"]
    assert {line.split("\t")[1] for line in box.run("grep", "^Cap", "/proc/self/status").lines} == {"0" * 16}


def test_capabilities_that_are_missing_are_reported(box: Box) -> None:
    box.process["capabilities"]["permitted"] = ["CAP_CHOWN", "CAP_WISHFUL"]
    box.process["capabilities"]["effective"] = ["CAP_CHOWN"]
    result = box.run("true")
    assert result.code == 0
    assert "CAP_WISHFUL" in result.warnings[0]


def test_no_new_privileges(box: Box) -> None:
    assert box.run("grep", "NoNewPrivs", "/proc/self/status").out.strip().endswith("1")
    box.process["noNewPrivileges"] = False
    assert box.run("grep", "NoNewPrivs", "/proc/self/status").out.strip().endswith("0")


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp_refuses_with_its_errno(box: Box, no_new_privileges: bool) -> None:
    box.process["noNewPrivileges"] = no_new_privileges
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    box.config["root"]["readonly"] = False
    out = box.run(script="busybox mkdir /new; grep Seccomp: /proc/self/status")
    assert "Operation not supported" in out.out
    assert out.lines[-1].split() == ["Seccomp:", "2"]


def test_rlimits_and_oom_score(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    box.process["oomScoreAdj"] = 321
    box.process["user"] = {"uid": 1000, "gid": 1000}
    out = box.run(script="ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj").lines
    assert out == ["100", "200", "321"]


def test_scheduling(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    out = box.run("cat", "/proc/self/stat").out.rpartition(") ")[2].split()
    assert out[16] == "5"  # nice, proc_pid_stat(5)
    assert out[38] == "3"  # policy: SCHED_BATCH


def test_the_working_directory_is_made_and_entered(box: Box) -> None:
    box.process["cwd"] = "/some/where"
    assert box.run("readlink", "/proc/self/cwd").out == "/some/where\n"


def test_only_its_own_descriptors(box: Box) -> None:
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        out = box.run(script="ls -l /proc/self/fd 2>/dev/null | grep -c ' -> '").out
        assert int(out) <= 4, "0, 1, 2 and the one that ls reads the directory with"
    finally:
        os.close(secret)


def test_no_signal_is_blocked_or_ignored(box: Box) -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        out = box.run("grep", "Sig[BI]", "/proc/self/status").lines
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    assert out == ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]


def test_a_document_without_a_process_can_be_created_only(box: Box) -> None:
    del box.config["process"]
    created = box.create()
    with pytest.raises(LaunchError, match="process property must not be empty"):
        created.start()
    box.delete()


@pytest.mark.parametrize("kind", ["shared", "slave", "private", "unbindable"])
def test_the_roots_propagation(box: Box, kind: str) -> None:
    box.linux["rootfsPropagation"] = kind
    line = next(li for li in box.run("cat", "/proc/self/mountinfo").lines if li.split()[4] == "/")
    tags = line.split(" - ")[0].split()[6:]
    assert [t.partition(":")[0] for t in tags] == {"shared": ["shared"], "unbindable": ["unbindable"]}.get(kind, [])


def test_a_process_beside_init_in_a_user_namespace(box: Box) -> None:
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    try:
        with Streams() as streams:
            script = "id -u; for n in user pid mnt net; do readlink /proc/self/ns/$n; done"
            process = {**box.process, "args": ["sh", "-c", script], "user": {"uid": 5, "gid": 5}}
            beside = exec_process(created.pid, process, stdio=streams.child, cgroup=box.cgroup)
            beside.start()
            lines = streams.read().splitlines()
            assert reap(beside) == 0
        assert lines == ["5", *(os.readlink(f"/proc/{created.pid}/ns/{n}") for n in ("user", "pid", "mnt", "net"))]
    finally:
        os.kill(created.pid, 9)
        reap(created)
        box.delete()


# Control groups.


def test_limits_are_in_force(box: Box) -> None:
    box.linux["resources"] |= {
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "pids": {"limit": 7},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    }
    created = box.create()
    try:
        groups = registry.detect()
        assert groups.processes(box.cgroup) == [created.pid]
        stats = groups.stats(box.cgroup)
        assert stats.memory_limit == 64 << 20
        assert stats.pids == 1
        assert (stats.memory or 0) < 16 << 20
    finally:
        created.abort()
        box.delete()


def test_too_many_processes_are_refused(box: Box) -> None:
    box.linux["resources"]["pids"] = {"limit": 2}
    assert "fork" in box.run(script="true & true & true & busybox true | busybox true").out


def test_memory_beyond_the_limit_kills_and_is_counted(box: Box) -> None:
    box.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    box.process["args"] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
    created = box.create()
    created.start()
    assert os.waitstatus_to_exitcode(os.waitpid(created.pid, 0)[1]) == -9
    os.close(created.pidfd)
    assert registry.detect().oom_count(box.cgroup) >= 1
    box.delete()
