"""An installed instance as a user has it: `ground` in a process of its own, its daemon started on demand."""

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

from tests.real import leaks

_TIMEOUT = 180


class Ground:
    """`ground` with a root and run directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root, self.run_dir = directory / "root", directory / "run"
        self.socket = self.run_dir / "ground.sock"
        self.environ = {**os.environ, "GROUND_ROOT": str(self.root), "GROUND_RUN": str(self.run_dir)}
        self.environ |= {"GROUND_CONFIG": "/nowhere", "DOCKER_HOST": f"unix://{self.socket}"}

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-m", "groundplane.cli.main"]

    def __call__(
        self, *words: str, input: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it; whatever its exit code."""
        environ = {**self.environ, **(env or {})}
        return subprocess.run(
            [*self.argv, *words],
            input=input,
            env=environ,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )

    def ok(self, *words: str, input: str = "", env: dict[str, str] | None = None) -> str:
        """Its standard output; it must succeed."""
        done = self(*words, input=input, env=env)
        assert done.returncode == 0, f"ground {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.argv, *words],
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def log(self) -> str:
        return (self.root / "log" / "groundd.log").read_text()

    def close(self) -> None:
        """Take everything down, and prove that nothing is left on the host."""
        if self.socket.exists():
            for id in self.ok("ps", "-aq", "--no-trunc").split():
                self.ok("rm", "-f", id)
        for line in leaks.processes([self.run_dir]):
            pid, name = line.split(" ")[:2]
            if name == "ground-spawner":
                os.kill(int(pid), signal.SIGTERM)
        deadline = time.monotonic() + 120
        while left := leaks.processes([self.run_dir]):
            assert time.monotonic() < deadline, left
            time.sleep(0.02)  # between two looks at /proc, with a deadline
        assert leaks.left(self.root, self.run_dir) == []


@contextmanager
def ground() -> Iterator[Ground]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    made = Ground(directory)
    try:
        yield made
        made.close()
    finally:
        for line in leaks.processes([made.run_dir]):  # only after a failure
            os.kill(int(line.split(" ")[0]), signal.SIGKILL)
        for mount in leaks.mounts([directory]):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(directory, ignore_errors=True)
