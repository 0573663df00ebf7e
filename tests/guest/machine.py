"""A virtual machine for one command: QEMU without disk, network or display, gone when the command has ended.

host                                     guest
run(job) ── initramfs, command line ──▶ /init: modules, mounts, the command
         ◀── first serial line ───────── console (kept for the error message)
         ◀── second serial line ──────── what the command writes, then `exit CODE`
         ◀── end of the process ──────── poweroff
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guest.archive import pack
from tests.guest.contents import PROJECT, tree
from tests.guest.kernel import Kernel

QEMU = "qemu-system-x86_64"
V2, V1, HYBRID = "v2", "v1", "hybrid"
MODULES = ("overlay", "nf_tables")
_V1_CONTROLLERS = ("cpu,cpuacct", "cpuset", "memory", "blkio", "devices", "freezer", "pids", "hugetlb")
# Half of the boot would be self-tests of ciphers, and defences against neighbours on the same processor.
_KERNEL_WORDS = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off cryptomgr.notests=1"
_EXIT = re.compile(r"^exit (\d+)\r?\n\Z", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """A command for a guest: `words` run in the project's directory, on a host with this layout of control groups."""

    words: Sequence[str]
    layout: str = V2
    modules: Sequence[str] = MODULES
    packages: Sequence[str] = ("pytest", "groundplane")
    environment: Sequence[tuple[str, str]] = ()
    seconds: float = 120
    memory: int = 1200  # MiB; the initramfs lies in it


@dataclass(frozen=True)
class Ended:
    code: int
    output: str


class GuestError(Exception):
    """The guest did not come to the command's end; says what it wrote last."""


def run(kernel: Kernel, job: Job) -> Ended:
    """Boot, run, power off. Raises GuestError; leaves no process and no file behind on any path."""
    with tempfile.TemporaryDirectory(prefix="ground-test-guest-", dir="/tmp") as folder:
        initramfs, report, console = (Path(folder, name) for name in ("initramfs", "report", "console"))
        with initramfs.open("wb") as f:
            f.writelines(pack(tree(kernel, job.modules, _init(job), job.packages)))
        with subprocess.Popen(
            _command(kernel, job, initramfs, report, console), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as qemu:
            try:
                _, errors = qemu.communicate(timeout=job.seconds)
            except subprocess.TimeoutExpired:
                qemu.kill()
                _, errors = qemu.communicate()
                errors += f"not at an end after {job.seconds} s".encode()
            finally:
                qemu.kill()
        output, last = (p.read_text(errors="replace") if p.exists() else "" for p in (report, console))
    if (ended := _EXIT.search(output)) is None:
        raise GuestError(f"{errors.decode()}\n--- console\n{last[-3000:]}\n--- output\n{output[-6000:]}")
    return Ended(int(ended[1]), output[: ended.start()].replace("\r\n", "\n"))


def _command(kernel: Kernel, job: Job, initramfs: Path, report: Path, console: Path) -> list[str]:
    # Nehalem is x86-64-v2, which distributions assume; what later processors have more costs half as much again here.
    # Not microvm, though it boots half a second sooner: on a busy host its only clock cannot be measured ("tsc: No
    # reference (HPET/PMTIMER) available"), and one boot in three then waits for ever for its first timer interrupt.
    words = f"{QEMU} -M pc,hpet=on -cpu Nehalem -nodefaults -no-user-config -display none"
    # Software emulation on every machine, though KVM would be ten times as fast: there are hosts (nested clouds) whose
    # /dev/kvm opens, runs a few instructions of real mode, and then spins; one path that always works is worth more.
    # -icount: the guest's time is what its one processor has executed, 4 ns an instruction, and jumps where it idles.
    # So however busy the host is, nothing in the guest comes too late, and what fails once fails always.
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # it goes with the test, also when that is killed
        *words.split(),
        *("-accel", "tcg", "-icount", "shift=2,sleep=off", "-rtc", "clock=vm", "-no-reboot"),
        *("-m", str(job.memory)),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
        *("-append", f"{_KERNEL_WORDS} {'cgroup_no_v1=all' if job.layout == V2 else ''}"),
        *("-serial", f"file:{console}", "-serial", f"file:{report}"),
    ]


def _init(job: Job) -> str:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **dict(job.environment)}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    return _INIT.format(
        exports=exports,
        groups="\n".join(_mounts(job.layout)),
        project=shlex.quote(os.fspath(PROJECT)),
        command=shlex.join(job.words),
    )


def _mounts(layout: str) -> list[str]:
    """Shell lines that mount the control groups as systemd does for this layout."""
    if layout == V2:
        return ["mount -t cgroup2 cgroup2 /sys/fs/cgroup"]
    lines = ["mount -t tmpfs tmpfs /sys/fs/cgroup"]
    for controllers in _V1_CONTROLLERS:
        place = f"/sys/fs/cgroup/{controllers}"
        lines.append(f"mkdir {place} && mount -t cgroup -o {controllers} cgroup {place}")
    if layout == HYBRID:
        lines.append("mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    return lines


# pivot_root(2): "the current root mount must not be rootfs", which an initramfs is; a bind mount of it, moved over it,
# is an ordinary mount. Modules first, because the moved root has no /proc or /dev yet.
_INIT = """#!/usr/bin/busybox sh
if [ -z "$moved" ]; then
  export moved=1
  mount --bind / /mnt && cd /mnt && mount --move . / && exec chroot . /init
fi
unset moved
{exports}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# A project, or an interpreter, may lie below /tmp, and what is mounted over it hides it.
[ "$(ls -A /tmp)" ] || mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mount -t tmpfs -o mode=755 tmpfs /run
while read module; do insmod $module; done < /modules/order
{groups}
hostname guest
ifconfig lo up
ulimit -n 4096 # soft and hard: where they differ, runc 1.1 gives its containers the hard one
cd {project}
{command} > /dev/ttyS1 2>&1 < /dev/null
echo "exit $?" > /dev/ttyS1
poweroff -f
"""
