"""podman with a storage, a network and a mount namespace of its own, whose containers run through `ground-runtime`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.net_host import NetHost
from tests.foreign.docker_daemon import busybox_tree, output_file, write_runtime

from groundplane.kernel.cgroups import registry

_CONFIG = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
network_cmd_path = ""
[network]
network_config_dir = "{0}/networks"
"""
# podman keeps network namespaces, locks and leases below /run, and asks for files of /etc that a test may lay out. It
# takes every directory in /sys/fs/cgroup for a hierarchy of version 1, so only those are there.
_ROOM = """\
mount -t tmpfs tmpfs /run
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" = tmpfs ]; then
  mkdir /run/groups
  mount --rbind /sys/fs/cgroup /run/groups
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  for one in /run/groups/*; do
    name=/sys/fs/cgroup/${{one##*/}}
    if [ -L $one ]; then cp -P $one $name; elif mountpoint -q $one; then mkdir $name; mount --bind $one $name; fi
  done
  umount --recursive /run/groups
fi
mkdir {0}/etc {0}/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={0}/etc,workdir={0}/work /etc
echo 'containers:2000000:1000000' >>/etc/subuid
echo 'containers:2000000:1000000' >>/etc/subgid
echo ready
exec sleep 1000000
"""


class Podman:
    """Calling it checks the exit code and gives what was printed; `asked` gives all of the result."""

    def __init__(self, directory: Path, host: NetHost) -> None:
        self.directory = directory
        self.host = host
        self.parent = f"ground-test-podman-{os.getpid()}"
        self._room: subprocess.Popen[str] | None = None
        self._words: list[str] = []

    def start(self) -> None:
        root = self.directory
        write_runtime(root / "ground-runtime", "--root", f"{root}/state")
        (root / "containers.conf").write_text(_CONFIG.format(root))
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _ROOM.format(root)]
        self._room = self.host.run(
            lambda: subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        )
        assert self._room.stdout and self._room.stdout.readline() == "ready\n"
        self._words = [
            "nsenter",
            "--target",
            str(self._room.pid),
            "--mount",
            "--net",
            "podman",
            "--root",
            f"{root}/root",
        ]
        self._words += ["--runroot", f"{root}/run", "--tmpdir", f"{root}/tmp", "--storage-driver", "overlay"]
        self._words += ["--runtime", f"{root}/ground-runtime"]
        subprocess.run(["tar", "-C", busybox_tree(root / "image"), "-cf", root / "image.tar", "."], check=True)
        self("import", "--quiet", str(root / "image.tar"), "box")

    def stop(self) -> None:
        """The containers, their monitors and the namespaces that hold everything else."""
        groups = registry.detect()
        for _ in range(2):  # the second time without anybody who could start something
            groups.kill(self.parent)
            mark = str(self.directory).encode()
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    ours = mark in Path("/proc", pid, "cmdline").read_bytes()
                    if ours and int(pid) != os.getpid():
                        os.kill(int(pid), signal.SIGKILL)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has just ended
        if self._room is not None:
            self._room.kill()
            self._room.communicate()
        groups.kill(self.parent)
        groups.remove(self.parent)

    def asked(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        with output_file() as out, output_file() as err:
            environment = {**os.environ, "CONTAINERS_CONF": f"{self.directory}/containers.conf"}
            command = [*self._words, *words]
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=120,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            result = subprocess.CompletedProcess(words, done.returncode, out.read(), err.read())
        assert result.returncode == code, f"podman {' '.join(words)}: {result}"
        return result

    def __call__(self, *words: str, code: int = 0) -> str:
        return self.asked(*words, code=code).stdout

    def run(self, *words: str, code: int = 0) -> str:
        """`podman run` without a network; without `--detach` or `--name` it leaves nothing."""
        keep = [] if {"--detach", "--name"} & set(words) else ["--rm"]
        done = self.asked("run", "--net", "none", "--cgroup-parent", f"/{self.parent}", *keep, *words, code=code)
        return done.stdout + (done.stderr if code else "")

    def until(self, what: str, *words: str) -> None:
        """Ask until the answer contains `what`."""
        deadline = time.monotonic() + 60
        while what not in (answer := self(*words)):
            assert time.monotonic() < deadline, f"podman {' '.join(words)} never said {what!r}: {answer}"


@contextmanager
def podman_host() -> Iterator[Podman]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    with NetHost("10.98.0.1") as host:
        podman = Podman(directory, host)
        try:
            podman.start()
            yield podman
        finally:
            podman.stop()
            shutil.rmtree(directory)
