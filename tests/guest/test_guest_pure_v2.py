"""The project's own tests on hosts that this one is not: pure v2, v1 alone, both. Each boots a guest (machine.py).

GROUND_GUEST=full runs everything that concerns the runtime, and a whole platform, instead of a selection: some minutes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest
from tests.guest import kernel, machine

pytestmark = pytest.mark.needs("qemu", "guest-kernel", "busybox")
FULL = os.environ.get("GROUND_GUEST") == "full"

CONTRACT = "tests/contracts/test_cgroups_drivers.py::test_this_host"
V2_ONLY = "tests/real/test_cgroups_pure_v2.py"
CONTAINER = "tests/real/test_runtime_container.py"
VERBS = ["tests/real/test_runtime_verbs.py", "tests/real/test_runtime_limits.py"]
ENGINE = "tests/real/test_engine_containers.py"
# Every verb that does something to a group, and containers from the beginning to the end: paths that layouts share are
# tested on the host.
NAMES = (
    "test_this_host",
    "test_cgroups_pure_v2",
    "test_the_cgroup_mount",
    "test_devices_that_are_not_allowed",
    "test_a_process_beside_init_in_a_user_namespace",
    "test_limits_are",
    "test_too_many_processes",
    "test_memory_beyond_the_limit",
    "test_a_paused_container",
    "test_events_tell",
    "test_exec_into_groups_below",
    "test_updates_that_only_we_know",
    "test_run_returns",
    "test_a_container_runs_and_leaves",
)
SELECTED = [CONTRACT, V2_ONLY, CONTAINER, *VERBS, ENGINE, "tests/real/test_runtime_commands.py"]
SELECTED += ["-k", " or ".join(NAMES), "--assert=plain"]  # rewriting seven files' asserts costs six seconds there
WHOLE = [
    [CONTRACT, V2_ONLY, CONTAINER],
    VERBS,
    ["tests/real/test_runtime_commands.py", "tests/real/test_runtime_like_runc.py"],
    ["tests/real/test_runtime_faults.py", "tests/real/test_runtime_security.py"],
    [ENGINE, "tests/real/test_ground_engine_verbs.py"],
]
# A platform's rules and links; elsewhere the kernel loads these modules when they are first asked for.
NETWORK = ["veth", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "nft_redir", "nft_socket", "nft_tproxy"]
NETWORK += ["nft_reject_ipv4", "nft_reject_inet", "nft_fib_ipv4", "nft_hash", "nft_numgen"]


def in_guest(words: Sequence[str], layout: str, seconds: float, modules: Sequence[str] = ()) -> str:
    """What a command writes that must succeed in a guest."""
    found = kernel.find()
    assert found
    job = machine.Job(words, layout=layout, seconds=seconds, modules=(*machine.MODULES, *modules))
    ended = machine.run(found, job)
    print(ended.output)  # pytest shows it if the test fails
    assert ended.code == 0
    return ended.output


def passed(tests: Sequence[str], layout: str, seconds: float = 900) -> int:
    """How many tests passed. All must, and none may be skipped for want of something that the guest could have."""
    output = in_guest(["python", "-m", "pytest", "--tb=short", *tests], layout, seconds)
    assert not re.search(r"^SKIPPED.*not installed", output, re.MULTILINE)
    last = re.search(r"(\d+) passed", output.splitlines()[-1])
    assert last
    return int(last[1])


def test_pure_v2() -> None:
    assert passed(SELECTED, machine.V2) >= 40


@pytest.mark.parametrize("layout", [machine.V1, machine.HYBRID])
def test_other_layouts(layout: str) -> None:
    found = kernel.find()
    assert found
    names = () if found.limits_v1_memory else ("grants_limits_it_has_means_for", "counts_everything")
    assert passed([CONTRACT, *(f"--deselect={CONTRACT}[{name}]" for name in names)], layout) >= 13 - len(names)


@pytest.mark.skipif(not FULL, reason="GROUND_GUEST=full runs it")
@pytest.mark.parametrize("tests", WHOLE, ids=lambda tests: tests[-1])
def test_the_whole_runtime_on_pure_v2(tests: list[str]) -> None:
    assert passed(tests, machine.V2, 3600) > 5


@pytest.mark.skipif(not FULL, reason="GROUND_GUEST=full runs it")
@pytest.mark.parametrize("layout", [machine.V1, machine.HYBRID])
def test_containers_on_other_layouts(layout: str) -> None:
    if (found := kernel.find()) and not found.limits_v1_memory:
        pytest.skip("this kernel has no memory controller of version 1 (CONFIG_MEMCG_V1)")
    assert passed([CONTAINER], layout, 3600) > 40


@pytest.mark.skipif(not FULL, reason="GROUND_GUEST=full runs it")
def test_a_platform_on_pure_v2() -> None:
    in_guest(["bash", "tests/guest/platform.sh"], machine.V2, 1800, NETWORK)
