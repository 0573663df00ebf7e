"""The published advisories of runc, each with the attack in it that the image, a volume or a neighbour makes.

Those that need more than a few lines are in `test_runtime_security.py`; the table of all of them is in
docs/design/runtime.md.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.bundles import Box, CommandLine, Streams, reap

from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls import process as p
from groundplane.kernel.errors import KernelError
from groundplane.runtime.beside import exec_process
from groundplane.runtime.created import Created
from groundplane.runtime.failures import LaunchError
from groundplane.runtime.steps.base import Inside
from groundplane.runtime.steps.labels import SetLabel
from groundplane.runtime.talk import pair

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def running(box: Box) -> Iterator[Created]:
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    yield created
    os.kill(created.pid, 9)
    reap(created)
    box.delete()


def beside(box: Box, created: Created, **process: object) -> str:
    with Streams() as streams:
        one = exec_process(created.pid, {**box.process, **process}, stdio=streams.child, cgroup=box.cgroup)
        one.start()
        out = streams.read()
        reap(one)
    return out


# CVE-2019-5736: the host's binary through /proc/self/exe.

_TAMPER = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
exe = os.open("/proc/self/exe", os.O_PATH)
def call(name, *arguments):
    if libc.syscall(*arguments) == -1:
        print(name, "refused")
    else:
        print(name, "WORKED", bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY))
clear = struct.pack("=4Q", 0, 1, 0, 0)
call("mount_setattr", 442, exe, b"", 0x1000, clear, len(clear))
call("open_tree", 428, exe, b"", 1 | 0x1000)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
path = f"/proc/self/fd/{exe}".encode()
print("remount", "refused" if libc.mount(None, path, None, 4096 | 32, None) == -1 else "WORKED")
print("open", "refused" if libc.open(b"/proc/self/exe", 1) == -1 else "WORKED")
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the attack's system call numbers are x86-64's")
def test_the_protection_of_the_interpreter_cannot_be_taken_away(box: Box) -> None:
    """With every right over its own mounts the container's root still cannot make that mount writable again."""
    for name in ("usr", "lib", "lib64", "root"):
        if os.path.isdir(f"/{name}"):
            box.mount(f"/{name}", "bind", f"/{name}", "rbind", "ro")
    for kind in ("bounding", "permitted", "effective"):
        box.process["capabilities"][kind] = ["CAP_SYS_ADMIN"]
    box.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}  # so that Python is what executes the program
    (box.root / "evil").symlink_to("/proc/self/exe")
    box.process["args"] = ["/evil", "-I", "-S", "-c", _TAMPER]
    box.process["env"] += [f"PYTHONHOME={os.path.dirname(os.path.dirname(os.path.realpath('/proc/self/exe')))}"]
    box.save()
    done = CommandLine(box.directory / "state")("run", "--bundle", str(box.directory), "evil")
    shutil.rmtree(box.directory / "state")
    names = ["mount_setattr", "open_tree", "remount", "open"]
    assert done.stdout.splitlines() == [f"{name} refused" for name in names], done.stderr


# CVE-2024-21626: leaked descriptors and the working directory.


@pytest.mark.parametrize("cwd", [f"/proc/self/fd/{n}" for n in (3, 5, 7, 8, 9)] + ["/proc/self/fd/7/../../.."])
def test_the_working_directory_of_exec_leads_nowhere(box: Box, running: Created, cwd: str) -> None:
    leak = os.open("/sys/fs/cgroup", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leak, True)
    try:
        out = beside(
            box, running, cwd=cwd, args=["sh", "-c", "readlink /proc/self/cwd; ls -d ../../../tmp/ground-test-*"]
        )
        assert str(box.directory.name) not in out
    except LaunchError as error:
        assert "chdir to cwd" in str(error) or "outside of container mount namespace" in str(error)
    finally:
        os.close(leak)


def test_a_link_of_the_image_to_a_descriptor_leads_nowhere(box: Box) -> None:
    """The image's own /work as a link to /proc/self/fd/N: what WORKDIR in a Dockerfile was used for."""
    for number in (3, 4, 5, 6, 7, 8, 9):
        (box.root / f"work{number}").symlink_to(f"/proc/self/fd/{number}")
        box.process["cwd"] = f"/work{number}"
        try:
            out = box.run(script="readlink /proc/self/cwd; ls -d ../../tmp/ground-test-*").out
            assert box.directory.name not in out
        except LaunchError as error:
            assert "/work" in str(error) or "outside of container" in str(error)
        box.delete()


# CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc and /sys as links.


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/tmp/elsewhere", "elsewhere", "/bin"])
def test_proc_and_sys_are_directories(box: Box, name: str, target: str) -> None:
    """Behind a link the masks and the read-only paths would be made somewhere else than where proc is."""
    kind = "proc" if name == "proc" else "sysfs"
    (box.root / name).symlink_to(target)
    (box.root / "elsewhere").mkdir()
    with pytest.raises(LaunchError, match=f'filesystem "{kind}" must be mounted on ordinary directory'):
        box.create()


# CVE-2021-30465: a mount point that a neighbour exchanges for a link at the right moment.

_RENAME_EXCHANGE = 2


def test_a_mount_point_exchanged_for_a_link_while_it_is_mounted_on(box: Box) -> None:
    """Two containers share a volume; one flips a directory and a link in it while the other one starts.

    Should a mount ever follow the link as the host sees it, directories would be made in, and mounts on, `outside`.
    """
    outside, volume = box.directory / "outside", box.directory / "volume"
    (volume / "place").mkdir(parents=True)
    outside.mkdir()
    (outside / "marker").touch()
    (volume / "link").symlink_to(outside)
    box.mount("/volume", "bind", str(volume), "rbind")
    box.mount("/volume/place/deep", "tmpfs", "tmpfs")
    box.mount("/volume/place/deep/er", "bind", "/etc", "rbind", "ro")
    neighbour = os.fork()
    if neighbour == 0:
        renameat2 = ctypes.CDLL(None).renameat2
        directory = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
        while os.getppid() != 1:
            renameat2(directory, b"place", directory, b"link", _RENAME_EXCHANGE)
        os._exit(0)
    outcomes = set()
    try:
        for _ in range(30):
            try:
                out = box.run(script="ls /volume/place /volume/link; true").out
                assert "marker" not in out
                outcomes.add("ran")
            except LaunchError as error:
                assert "mounting" in str(error)
                outcomes.add("refused")
            box.delete()
            assert os.listdir(outside) == ["marker"]
    finally:
        os.kill(neighbour, 9)
        os.waitpid(neighbour, 0)
    assert "ran" in outcomes


# CVE-2022-29162: inheritable capabilities.


def test_exec_gives_no_inheritable_capabilities(box: Box) -> None:
    """They would reach programs with file capabilities of a user without any."""
    box.process["args"] = ["sleep", "60"]
    box.save()
    command = CommandLine(box.directory / "state")
    assert command("run", "--detach", "--bundle", str(box.directory), "c").returncode == 0
    try:
        done = command("exec", "--cap", "CAP_NET_ADMIN", "-u", "1000:1000", "c", "grep", "^Cap", "/proc/self/status")
        sets = dict(line.split() for line in done.stdout.splitlines())
        assert int(sets["CapInh:"], 16) == int(sets["CapAmb:"], 16) == int(sets["CapPrm:"], 16) == 0
        assert int(sets["CapBnd:"], 16) >> 12 & 1
    finally:
        command("delete", "--force", "c")
        shutil.rmtree(box.directory / "state")


def test_a_fresh_document_asks_for_no_inheritable_capabilities(box: Box) -> None:
    assert "inheritable" not in box.process["capabilities"] or box.process["capabilities"]["inheritable"] == []


# CVE-2023-25809: the host's cgroups writable in a container without a cgroup namespace.


def test_the_hosts_cgroups_are_not_writable(box: Box) -> None:
    """In a user namespace, without a cgroup namespace, asked for writable: its own group and no other."""
    box.namespace("user")
    box.without_namespace("cgroup")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    mount = next(one for one in box.config["mounts"] if one["type"] == "cgroup")
    mount["options"] = ["rw"]
    script = "for f in $(busybox find /sys/fs/cgroup -name cgroup.procs); do echo $f; echo 1 > $f && echo WROTE; done"
    out = box.run(script=script).out
    assert "cgroup.procs" in out
    assert "WROTE" not in out
    assert "ground-test" not in out, "no group but its own"


# CVE-2025-31133: what masks.


def test_a_mask_without_dev_null_is_an_error(box: Box) -> None:
    """It must not fall back to another way of hiding."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] != "/dev"]
    (box.directory / "dev").mkdir()
    for name in ("pts", "shm", "mqueue"):
        (box.directory / "dev" / name).mkdir()
    box.config["mounts"].insert(1, {"destination": "/dev", "type": "bind", "source": "dev", "options": ["bind"]})
    with pytest.raises(LaunchError, match="error masking paths: openat2 /dev/null: no such file or directory"):
        box.create()


def test_another_device_for_dev_null_is_an_error(box: Box) -> None:
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] != "/dev"]
    (box.directory / "dev").mkdir()
    for name in ("pts", "shm", "mqueue"):
        (box.directory / "dev" / name).mkdir()
    os.mknod(box.directory / "dev/null", 0o020666, os.makedev(1, 11))  # the kernel's log
    box.config["mounts"].insert(1, {"destination": "/dev", "type": "bind", "source": "dev", "options": ["bind"]})
    with pytest.raises(LaunchError, match="is not the null device"):
        box.create()


# CVE-2025-52565: /dev/console.


@pytest.mark.parametrize("target", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/etc/victim"])
def test_the_console_is_not_mounted_through_a_link(box: Box, target: str) -> None:
    """The image's /dev is kept, and has a link for /dev/console: what it leads to must not be covered."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] != "/dev"]
    dev = box.directory / "dev"
    for name in ("pts", "shm", "mqueue"):
        (dev / name).mkdir(parents=True)
    os.mknod(dev / "null", 0o020666, os.makedev(1, 3))
    (dev / "console").symlink_to(target)
    (dev / "ptmx").symlink_to("pts/ptmx")
    box.write("/etc/victim", "x")
    box.config["mounts"].insert(1, {"destination": "/dev", "type": "bind", "source": "dev", "options": ["bind"]})
    box.process["terminal"] = True
    with pytest.raises(LaunchError, match="/dev/console of the container is a symbolic link"):
        box.create(console=True)


def test_a_ptmx_of_the_hosts_is_not_taken_for_the_containers(box: Box) -> None:
    """A terminal from another devpts would be the host's, and its number another container's."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] not in ("/dev", "/dev/pts")]
    dev = box.directory / "dev"
    for name in ("pts", "shm", "mqueue"):
        (dev / name).mkdir(parents=True)
    os.mknod(dev / "null", 0o020666, os.makedev(1, 3))
    os.mknod(dev / "ptmx", 0o020666, os.makedev(1, 3))
    box.config["mounts"].insert(1, {"destination": "/dev", "type": "bind", "source": "dev", "options": ["bind"]})
    with pytest.raises(LaunchError, match="/dev/ptmx of the container is not a devpts terminal multiplexer"):
        box.create(console=True)


# CVE-2025-52881: writes below /proc that go elsewhere.


@pytest.mark.parametrize("cover", ["attr", "self", "proc"])
def test_a_label_is_not_redirected_by_what_is_mounted_over_proc(box: Box, cover: str) -> None:
    """The write must reach the kernel, which has no such label here, and not the file that is in the way."""
    decoy = box.directory / "decoy"
    for place in ("attr", "self/attr", f"{os.getpid()}/attr"):
        (decoy / place).mkdir(parents=True, exist_ok=True)
        (decoy / place / "exec").write_text("untouched")
    (decoy / "exec").write_text("untouched")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            p.unshare(p.CLONE_NEWNS)
            m.mount_setattr(m.AT_FDCWD, "/", propagation=m.MS_PRIVATE, recursive=True)
            target = {"attr": f"/proc/{os.getpid()}/attr", "self": f"/proc/{os.getpid()}", "proc": "/proc"}[cover]
            m.mount(str(decoy), target, "", m.MS_BIND)
            ours, _ = pair()
            try:
                SetLabel("exec", "x").apply(Inside(ours, enters=False))
            except KernelError as error:
                code = 0 if error.call == "write" else 2  # it came to the kernel's own file, which refuses the label
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {path.read_text() for path in decoy.rglob("exec")} == {"untouched"}


def test_names_of_sysctls_do_not_climb(box: Box) -> None:
    """The check by prefix (`net.`) must be about the file that is written, or it lets every parameter of the host."""
    before = Path("/proc/sys/vm/swappiness").read_text()
    for key in ("net/../vm/swappiness", "net/ipv4/../../vm/swappiness", "net.//.vm.swappiness", "net/./x", "net//x"):
        box.linux["sysctl"] = {key: "1"}
        with pytest.raises(LaunchError, match="is no name: it would lead elsewhere"):
            box.create()
    assert Path("/proc/sys/vm/swappiness").read_text() == before
