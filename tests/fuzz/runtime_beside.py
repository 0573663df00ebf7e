"""Two runtimes on the same bundle, one after the other: how each ended, what its container saw, what it left.

Each runs in mount, UTS, IPC and network namespaces that are thrown away, because a document may say that the container
shares its caller's, and then its mounts and names would be the host's.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from tests.fuzz.runtime_documents import Change, apply

from groundplane.kernel.cgroups import registry
from groundplane.runtime.verbs.spec import example

_APPLETS = "sh cat ls true id env grep sed sort pwd hostname readlink find stat mkdir uname sleep echo"

# Everything about itself that a process can see and that the document decides.
_SCRIPT = r"""
plain() { sed 's/ [A-Z][a-z][a-z] .*[0-9][0-9]:[0-9][0-9] / /'; }
echo "# id"; id; pwd; hostname; umask; env | sort
echo "# status"
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Mems_allowed_list)' /proc/self/status
echo "# limits"; cat /proc/self/limits /proc/self/oom_score_adj
echo "# mounts"; cat /proc/self/mountinfo
stat -c '%n %a %u %g' /mnt /mnt/* /tmp /var /var/deep /var/deep/* /relative/* /dev /dev/shm
echo "# dev"
find /dev -mindepth 1 ! -path '/dev/mqueue*' ! -path '/dev/pts/*' ! -path '/dev/shm/*' -exec ls -lnd {} + | plain | sort
echo "# namespaces"; for n in uts ipc net pid mnt user cgroup; do echo $n $(readlink /proc/self/ns/$n); done
echo "# sysctl"; cd /proc/sys
cat kernel/shmmax kernel/domainname net/ipv4/ip_forward net/core/somaxconn fs/mqueue/msg_max
echo "# groups"; cat /proc/self/cgroup; cd /sys/fs/cgroup
cat */memory.limit_in_bytes */memory.memsw.limit_in_bytes */memory.soft_limit_in_bytes */memory.swappiness
cat */memory.oom_control */cpu.shares */cpu.cfs_quota_us */cpu.cfs_period_us */cpuset.cpus */cpuset.mems */pids.max
cat */blkio.throttle.read_bps_device; sort devices/devices.list
echo "# calls"; mkdir -m 0700 /tmp/new; mkdir -m 0777 /tmp/newer; uname; hostname other; cat /file
ls -ln /tmp | plain; echo x >/proc/sys/kernel/domainname; exit 0
"""

# Device rules of every container: ours have /dev/console, runc 1.1's have /dev/net/tun.
_DEVICES_OF_ONE = ("c 5:1 rwm", "c 10:200 rwm")


class Seen:
    """What a run showed: `code`, the sentence of its end, the container's own words, what is there afterwards."""

    def __init__(self, code: int, sentence: str, told: str, left: list[str]) -> None:
        self.code = code
        self.sentence = sentence
        self.told = told
        self.left = left


class Bench:
    """One bundle, made anew for each run at the same path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bundle = directory / "bundle"
        self.cgroup = f"ground-test-{os.getpid()}/beside"
        self.groups = registry.detect()
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, directory / "busybox")
        directory.chmod(0o755)

    def document(self, changes: list[Change]) -> dict[str, Any]:
        document = example()
        document["process"].update(terminal=False, args=["sh", "-c", _SCRIPT], env=["PATH=/bin"])
        document["process"].pop("rlimits")
        document["root"]["readonly"] = False
        document["linux"]["cgroupsPath"] = f"/{self.cgroup}"
        document["linux"]["resources"] = {"pids": {"limit": 500}}
        apply(document, copy.deepcopy(changes))
        return document

    def run(self, program: list[str], document: dict[str, Any]) -> Seen:
        self._fresh_bundle(document)
        id = self.cgroup.rpartition("/")[2]
        self.groups.create(self.cgroup.partition("/")[0])
        root = self.directory / "state"
        command = ["unshare", "-m", "-u", "-i", "-n", "--propagation", "private", *program, "--root", str(root)]
        command += ["run", "--bundle", str(self.bundle), id]
        with open(self.directory / "out", "w+b") as out, open(self.directory / "err", "w+b") as err:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, check=False)
            out.seek(0)
            err.seek(0)
            told, problem = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        left = self._left(root)
        if done.returncode == 0:  # how far it came before it failed is nobody's business
            left += self._files()
        return Seen(done.returncode, sentence(problem), self._plain(told), left)

    def _fresh_bundle(self, document: dict[str, Any]) -> None:
        shutil.rmtree(self.bundle, ignore_errors=True)
        rootfs = self.bundle / "rootfs"
        for name in ("bin", "tmp", "mnt", "etc"):
            (rootfs / name).mkdir(parents=True)
        os.link(self.directory / "busybox", rootfs / "bin/busybox")
        for applet in _APPLETS.split():
            (rootfs / "bin" / applet).symlink_to("busybox")
        (rootfs / "tmp").chmod(0o1777)
        (rootfs / "file").write_text("a file\n")
        (rootfs / "link").symlink_to("/mnt/target")
        (rootfs / "dangling").symlink_to("/nowhere/at/all")
        (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nseven:x:7:7::/home/seven:/bin/sh\n")
        (self.bundle / "source/inner").mkdir(parents=True)
        (self.bundle / "source/file").write_text("source\n")
        (self.bundle / "rootlink").symlink_to("rootfs")
        (self.bundle / "config.json").write_text(json.dumps(document))

    def _left(self, root: Path) -> list[str]:
        found = [f"state {name}" for name in os.listdir(root)] if root.exists() else []
        for group in (self.cgroup, "beside"):
            if self.groups.exists(group):
                found.append(f"cgroup {group}")
                self.groups.kill(group)
                self.groups.remove(group)
        if (self.bundle / "hooks").exists():
            found.append((self.bundle / "hooks").read_text())
        shutil.rmtree(root, ignore_errors=True)
        return found

    def _files(self) -> list[str]:
        """The bundle's files afterwards: what was made for mounts and devices, and as whose."""
        found = []
        for path in sorted(self.bundle.rglob("*")):
            if path.parent.name != "bin":
                info = path.lstat()
                if stat.S_ISREG(info.st_mode) and not info.st_size:
                    found.append(f"{path.relative_to(self.bundle)} as a place")  # runc's are executable
                    continue
                found.append(f"{path.relative_to(self.bundle)} {info.st_mode:o} {info.st_uid}:{info.st_gid}")
        return found

    def _plain(self, told: str) -> str:
        """Without what no two containers have in common."""
        lines = []
        mounts = []
        section = ""
        for line in told.splitlines():
            if line.startswith("# "):
                section = line
            if section == "# mounts" and " - " in line:
                line = _mount_line(line)
                if line.split(" ")[1].startswith("/sys/fs/cgroup") or line.endswith(" - tmpfs tmpfs x"):
                    continue
                mounts.append(line)
                continue
            if section == "# groups" and line in _DEVICES_OF_ONE:
                continue
            if section == "# namespaces" and "[" in line:
                kind, value = line.split(" ", 1)
                same = os.readlink(f"/proc/self/ns/{kind}") == value if kind in ("pid", "user", "cgroup") else None
                line = f"{kind} {same}"
            lines.append(line)
        mounts.sort(key=lambda line: line.split(" ")[1])  # those on one place stay in their order
        return "\n".join(lines + mounts)


def _mount_line(line: str) -> str:
    """A line of mountinfo without numbers: root, place, options, whether propagated, type, source, instance options."""
    head, _, tail = line.partition(" - ")
    fields = head.split(" ")
    propagation = sorted(field.partition(":")[0] for field in fields[6:]) if fields[4] != "/" else []
    # the mode of a tmpfs is an option to us, and chmod(2) to runc.
    tail = ",".join(option for option in tail.split(",") if not option.startswith("mode="))
    tail = tail.replace("tmpfs ro", "tmpfs rw")  # to runc `ro` is the mount's alone, to us its instance's too
    return " ".join([fields[3], fields[4], fields[5], *propagation, "-", tail])


def sentence(problem: str) -> str:
    """The last error of a runtime's log, in the words of one program."""
    lines = [
        line
        for line in problem.strip().splitlines()
        if "level=error" in line or "level=fatal" in line or "runc" in line
    ]
    last = lines[-1] if lines else ""
    return re.sub(r"(?s).*level=", "", last).replace("ground-runtime", "runc")
