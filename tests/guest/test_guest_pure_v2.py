"""The project's own tests on hosts that this one is not: pure v2, v1 alone, both. Each boots a guest (machine.py).

GROUND_GUEST=full runs all of the runtime's tests in the guest (some minutes) instead of a selection.
"""

from __future__ import annotations

import os
import re

import pytest
from tests.guest import kernel, machine

pytestmark = pytest.mark.needs("qemu", "guest-kernel", "busybox")

CONTRACT = "tests/contracts/test_cgroups_drivers.py"
COMMANDS = "tests/real/test_runtime_commands.py"
CONTAINER = "tests/real/test_runtime_container.py"
V2_ONLY = "tests/real/test_cgroups_pure_v2.py"
_SELECTED = [
    f"{CONTRACT}::test_this_host",
    V2_ONLY,
    f"{COMMANDS}::test_a_life",
    f"{COMMANDS}::test_run_returns_the_programs_code_and_clears_away",
    CONTAINER,
]
_FULL = [f"{CONTRACT}::test_this_host", V2_ONLY, COMMANDS, CONTAINER, "tests/real/test_runtime_faults.py"]
_FULL += ["tests/real/test_runtime_security.py"]


def passed(tests: list[str], layout: str, seconds: float) -> int:
    """Run tests in a guest; how many passed. All must pass, and none be skipped."""
    found = kernel.find()
    assert found
    job = machine.Job(["python", "-m", "pytest", "--tb=short", *tests], layout=layout, seconds=seconds)
    ended = machine.run(found, job)
    print(ended.output)  # pytest shows it if the test fails
    assert ended.code == 0
    assert "skipped" not in ended.output.splitlines()[-1]
    last = re.search(r"(\d+) passed", ended.output.splitlines()[-1])
    assert last
    return int(last[1])


def test_pure_v2() -> None:
    full = os.environ.get("GROUND_GUEST") == "full"
    assert passed(_FULL if full else _SELECTED, machine.V2, 900 if full else 240) > 10


@pytest.mark.parametrize("layout", [machine.V1, machine.HYBRID])
def test_other_layouts(layout: str) -> None:
    assert passed([f"{CONTRACT}::test_this_host"], layout, 120) >= 9
