"""`make demo` on a network host of the test's own: every step comes to its end, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.net_host import NetHost
from tests.real import leaks

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "demo.py"
STEPS = 9


@pytest.mark.needs("root", "cgroups", "net", "overlay")
def test_the_demo_shows_everything_and_leaves_nothing(state_root: Path) -> None:
    root, run, counter = state_root / "root", state_root / "run", state_root / "counter"
    environ = {**os.environ, "GROUND_ROOT": str(root), "GROUND_RUN": str(run), "DEMO_COUNTER": str(counter)}
    environ |= {"GROUND_NODE_IP": "10.24.0.1", "GROUND_CONFIG": "/nowhere"}
    with NetHost("10.24.0.1") as host:
        try:
            done = host.run(
                lambda: subprocess.run(
                    [sys.executable, str(DEMO)], env=environ, capture_output=True, text=True, timeout=900, check=False
                )
            )
            assert done.returncode == 0, done.stdout + done.stderr
        finally:
            if root.exists():  # only after a failure
                ground = [sys.executable, "-m", "groundplane.cli.main", "down", "--purge"]
                host.run(lambda: subprocess.run(ground, env=environ, capture_output=True, timeout=180, check=False))
    assert done.stdout.count("\n● ") >= STEPS, done.stdout
    assert ", 0 failed" in done.stdout
    assert "Nothing is left but the counter" in done.stdout
    assert leaks.left(root, run) == []
    assert os.listdir(state_root) == []
