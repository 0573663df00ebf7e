"""What starting costs: the command line and the runtime must not pull in what they do not need.

Counted in modules, not in seconds, so that a busy machine changes nothing.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "asyncio", "aiohttp", "orjson", "yaml", "cryptography", "http", "email", "ssl", "logging", "argparse", "unittest",
    "multiprocessing", "concurrent", "importlib.metadata", "urllib.request",
}  # fmt: skip


def imported(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["groundplane.cli.main", "groundplane.runtime.main", "groundplane.runtime.resident.spawner"]
)
def test_hot_paths_import_nothing_heavy(module: str) -> None:
    found = {name for name in imported(f"import {module}") if name in HEAVY or name.split(".")[0] in HEAVY}
    assert found == set()


@pytest.mark.parametrize("package", ["base", "kernel", "oci", "kinds", "wire", "store", "client", "engine"])
def test_importing_a_package_does_no_work(package: str) -> None:
    assert {m for m in imported(f"import groundplane.{package}") if m.startswith("groundplane.")} == {
        f"groundplane.{package}"
    }
