"""The README's first five minutes, typed as they stand there, in both languages: what is printed is what it says.

Names, addresses, ids, ages and times differ from run to run and are compared by shape.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.net_host import NetHost

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")

ROOT = Path(__file__).resolve().parents[2]
ADDRESS, NODE = "10.1.0.1", "box"
SHAPES = (
    (r"[0-9a-f]{64}|\b[0-9a-f]{12}\b", "ID"),
    (r"hello-[0-9a-z]+-[0-9a-z]{5}", "POD"),
    (r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS"),
    (r"\(\d+\.\d+ s\)", "(TIME)"),
    (r"Less than a second|About a minute|\b\d+ (second|minute)s?\b", "TIME"),
    (r"\b(\d+m)?\d+[sm]\b", "AGE"),
    (r"[ -]{2,}| +", " "),
)


class Machine:
    """A host of its own with `ground` on the PATH, as the README's reader has it after the installation."""

    def __init__(self, host: NetHost, home: Path) -> None:
        self._host = host
        self._home = home
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GROUND_", "KUBE"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "GROUND_ROOT": str(home / "root"),
            "GROUND_RUN": str(home / "run"),
            "GROUND_NODE_IP": ADDRESS,
            "GROUND_NODE_NAME": NODE,
        }

    def type(self, command: str) -> str:
        """Standard output of a line typed into a shell; a server that is just starting gets a few seconds."""
        deadline = time.monotonic() + 60
        while True:
            done = self._host.run(lambda: self._run(command))
            if done.returncode == 0:
                return done.stdout
            assert command.startswith("curl ") and time.monotonic() < deadline, f"{command}: {done.stdout}{done.stderr}"
            time.sleep(0.05)

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            env=self._environment,
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def export(self, line: str) -> None:
        """`export NAME=VALUE`, for the lines that follow."""
        name, _, value = line.removeprefix("export ").partition("=")
        self._environment[name] = self.type(f"echo {value}").strip()


@pytest.fixture
def machine(state_root: Path) -> Iterator[Machine]:
    with NetHost(ADDRESS) as host:
        machine = Machine(host, state_root)
        try:
            yield machine
        finally:
            machine.type("ground down --purge")


def shape(text: str) -> list[str]:
    """Lines that can be compared; how often a rollout says that it waits is chance."""
    for pattern, word in SHAPES:
        text = re.sub(pattern, word, text)
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Waiting for ")]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order; those without one are of the language ""."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for of, text in found if of == language]


def dialogue(page: str) -> list[tuple[str, str]]:
    """Each line after a `$`, and what the page shows below it."""
    found: list[tuple[str, str]] = []
    for block in blocks(page, ""):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_first_five_minutes(machine: Machine, state_root: Path, name: str) -> None:
    page = (ROOT / name).read_text()
    for language, file in (("python", "hello.py"), ("yaml", "hello.yaml")):
        (block,) = blocks(page, language)
        (state_root / file).write_text(block)
    lines = dialogue(page)
    assert len(lines) >= 12
    for command, shown in lines:
        program = command.split()[0]
        if program in ("kubectl", "curl") and shutil.which(program) is None:
            continue
        if program == "export":
            machine.export(command)
            continue
        printed = machine.type(command).replace(f"Hello from {os.uname().nodename}\n", "Hello from vm\n")
        assert shape(printed) == shape(shown), command
