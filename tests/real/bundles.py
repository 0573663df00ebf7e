"""Bundles of busybox for the runtime's tests: a builder, and containers run in-process or through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundplane.kernel.cgroups import registry
from groundplane.runtime import deletion, launch
from groundplane.runtime.created import Created
from groundplane.runtime.verbs.spec import example

_NAMES = "sh cat ls true id sleep echo env ps hostname mount grep stat touch mknod dd tty readlink kill umask wc mkdir"
_APPLETS = _NAMES.split()
COMMAND = [sys.executable, "-m", "groundplane.runtime.main"]


class Result:
    """How a container ended: `code` as waitstatus_to_exitcode gives it, and what it wrote."""

    def __init__(self, code: int, out: str, warnings: tuple[str, ...] = ()) -> None:
        self.code = code
        self.out = out
        self.warnings = warnings

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Box:
    """A bundle directory and its document; `cgroup` is one of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "rootfs"
        (self.root / "bin").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, self.root / "bin/busybox")
        for applet in _APPLETS:
            (self.root / "bin" / applet).symlink_to("busybox")
        directory.chmod(0o755)
        self.config: dict[str, Any] = example()
        self.process["terminal"] = False
        self.process.pop("rlimits")
        self.id = directory.name
        self.cgroup = f"ground-test-{os.getpid()}/{self.id}"
        self.linux["cgroupsPath"] = f"/{self.cgroup}"

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    def without_namespace(self, kind: str) -> None:
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]

    def namespace(self, kind: str, path: str = "") -> None:
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind, "path": path} if path else {"type": kind})

    def mount(self, destination: str, type: str, source: str, *options: str) -> None:
        self.config["mounts"].append(
            {"destination": destination, "type": type, "source": source, "options": list(options)}
        )

    def write(self, path: str, text: str, mode: int = 0o755) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def create(self, stdio: tuple[int, int, int] = (0, 1, 2), **options: Any) -> Created:
        return launch.create(
            self.config, bundle=str(self.directory), id=self.id, stdio=stdio, cgroup=self.cgroup, **options
        )

    def run(self, *args: str, script: str = "") -> Result:
        """Run a command, or a shell script, in a container from beginning to end."""
        if script or args:
            self.process["args"] = ["sh", "-c", script] if script else list(args)
        with Streams() as streams:
            created = self.create(streams.child)
            try:
                created.start()
            finally:
                out = streams.read()
            code = reap(created)
        self.delete()
        return Result(code, out, created.warnings)

    def delete(self) -> list[str]:
        return deletion.delete(self.config, bundle=str(self.directory), id=self.id, cgroup=self.cgroup)

    def save(self) -> None:
        (self.directory / "config.json").write_text(json.dumps(self.config))

    def leftovers(self) -> list[str]:
        """What a test must not leave: its cgroup, a mount below its directory, a process in its root."""
        found = []
        if registry.detect().exists(self.cgroup):
            found.append(f"cgroup {self.cgroup}")
        mounts = Path("/proc/self/mountinfo").read_text()
        if f" {self.directory}" in mounts:
            found.append(f"mount below {self.directory}")
        for pid in (p for p in os.listdir("/proc") if p.isdigit()):
            try:
                if os.readlink(f"/proc/{pid}/root").startswith(str(self.directory)):
                    found.append(f"process {pid}")
            except OSError:
                continue
        return found


class Streams:
    """A container's three streams: nothing to read, and one pipe for what it writes."""

    def __enter__(self) -> Streams:
        self._null = os.open("/dev/null", os.O_RDWR)
        self._read, self._write = os.pipe()
        self.child = (self._null, self._write, self._write)
        return self

    def read(self) -> str:
        """All of it, until everything in the container has closed it."""
        os.close(self._write)
        self._write = -1
        parts = []
        while part := os.read(self._read, 65536):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")

    def __exit__(self, *exception: object) -> None:
        for fd in (self._null, self._read, self._write):
            if fd >= 0:
                os.close(fd)


def reap(created: Created) -> int:
    _, status = os.waitpid(created.pid, 0)
    os.close(created.pidfd)
    return os.waitstatus_to_exitcode(status)


@contextmanager
def temporary_box() -> Iterator[Box]:
    """A box in a directory of its own; whatever is still in its cgroup in the end is killed, and both are removed."""
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    box = Box(directory)
    try:
        yield box
    finally:
        groups = registry.detect()
        groups.kill(box.cgroup)
        groups.remove(box.cgroup.partition("/")[0])
        shutil.rmtree(directory)


class CommandLine:
    """`ground-runtime` with a root of its own."""

    def __init__(self, root: Path, program: list[str] | None = None) -> None:
        self.root = root
        self.program = program or COMMAND

    def __call__(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end. Its output goes to files, because a detached container would keep a pipe open."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            command = [*self.program, "--root", str(self.root), *words]
            done = subprocess.run(
                command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=120, check=False
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())
