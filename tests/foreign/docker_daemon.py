"""A dockerd of one's own whose containers run through `ground-runtime`, on a host of its own, gone without a trace.

It lives in a network namespace (a `NetHost`) and a mount namespace of its own, in which /run is empty and
writes to /etc go elsewhere: its bridge, its iptables rules, its mounts and its sockets end with its processes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.fakes.net_host import NetHost

from groundplane.kernel.cgroups import registry

_CONTAINERD = """\
version = 2
root = "{0}/containerd"
state = "{0}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "{0}/containerd.sock"
"""
# containerd first: dockerd would start one with a configuration of its own.
_START = """\
mount -t tmpfs tmpfs /run
mkdir {0}/etc {0}/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={0}/etc,workdir={0}/work /etc
containerd --config {0}/containerd.toml -l error >{0}/containerd.log 2>&1 &
exec dockerd --host unix://{0}/docker.sock --containerd {0}/containerd.sock --data-root {0}/data --exec-root {0}/exec \
  --pidfile {0}/dockerd.pid --config-file {0}/daemon.json \
  --add-runtime ground={0}/ground-runtime --default-runtime ground --cgroup-parent /{1} --storage-driver overlay2 \
  >{0}/dockerd.log 2>&1
"""
_PROGRAMS = "sh cat echo id ls ps sleep kill mkdir touch true false hostname ip nc nslookup wget httpd dd tty test env"


class Docker:
    """The docker command line, speaking to that daemon. Calling it checks the exit code, and gives what was printed."""

    def __init__(self, directory: Path, host: NetHost) -> None:
        self.directory = directory
        self.host = host
        self.parent = f"ground-test-docker-{os.getpid()}"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "DOCKER_HOST": f"unix://{directory}/docker.sock",
            "DOCKER_BUILDKIT": "0",  # BuildKit's client is a plugin that Debian does not have
        }
        self._started: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        root = self.directory
        write_runtime(root / "ground-runtime")
        (root / "containerd.toml").write_text(_CONTAINERD.format(root))
        (root / "daemon.json").write_text("{}")
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _START.format(root, self.parent)]
        self._started = self.host.run(lambda: subprocess.Popen(words, start_new_session=True))
        deadline = time.monotonic() + 120
        while subprocess.run(["docker", "version"], env=self.environ, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline and self._started.poll() is None, (root / "dockerd.log").read_text()
        with subprocess.Popen(["tar", "-C", busybox_tree(root / "box"), "-c", "."], stdout=subprocess.PIPE) as tar:
            words = ["docker", "import", "-", "box"]
            subprocess.run(words, env=self.environ, stdin=tar.stdout, capture_output=True, check=True)

    def stop(self) -> None:
        """The daemons, the shims and all containers, whatever state they are in."""
        groups = registry.detect()
        groups.kill(self.parent)
        mark = str(self.directory).encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                ours = mark in Path("/proc", pid, "cmdline").read_bytes()
                if ours and int(pid) != os.getpid():
                    os.kill(int(pid), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
        if self._started is not None:
            self._started.wait()
        groups.kill(self.parent)
        groups.remove(self.parent)

    def words(self, *words: str, code: int = 0, input: str | None = None) -> subprocess.CompletedProcess[str]:
        with output_file() as out, output_file() as err:
            feed = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
            done = subprocess.run(
                ["docker", *words],
                env=self.environ,
                stdout=out,
                stderr=err,
                text=True,
                timeout=120,
                check=False,
                **feed,
            )
            out.seek(0)
            err.seek(0)
            result = subprocess.CompletedProcess(words, done.returncode, out.read(), err.read())
        assert result.returncode == code, f"docker {' '.join(words)}: {result}"
        return result

    def __call__(self, *words: str, code: int = 0, input: str | None = None) -> str:
        return self.words(*words, code=code, input=input).stdout

    def ctr(self, *words: str) -> str:
        """containerd's own client, in the daemons' mount namespace: it makes pipes below /run."""
        assert self._started is not None
        enter = ["nsenter", "--target", str(self._started.pid), "--mount", "--net"]
        command = [*enter, "ctr", "--address", f"{self.directory}/containerd.sock", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until(self, what: str, *words: str) -> None:
        """Ask until the answer contains `what`."""
        deadline = time.monotonic() + 60
        while what not in (answer := self(*words)):
            assert time.monotonic() < deadline, f"docker {' '.join(words)} never said {what!r}: {answer}"


@contextmanager
def docker_daemon() -> Iterator[Docker]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    with NetHost("10.99.0.1") as host:
        docker = Docker(directory, host)
        try:
            docker.start()
            yield docker
        finally:
            docker.stop()
            shutil.rmtree(directory)


def output_file() -> IO[str]:
    """Where a program writes; the host's other processes, which `ps` lists, have arguments of any bytes."""
    return tempfile.TemporaryFile("w+", errors="replace")


def write_runtime(path: Path, *options: str) -> None:
    """A program that is `ground-runtime` of this checkout."""
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m groundplane.runtime.main {" ".join(options)} "$@"\n')
    path.chmod(0o755)


def busybox_tree(root: Path) -> Path:
    """A root file system of busybox, with its usual names and a few users."""
    for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "root"):
        (root / folder).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), root / "bin/busybox")
    for name in _PROGRAMS.split():
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nann:x:1000:\ngame:x:60:ann\n")
    return root
