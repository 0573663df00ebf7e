"""kill -9 of daemon, spawner and supervisors while the cluster works: nobody notices. Long form: bench/soak.py.

Here the moments are random; test_node_kills.py enumerates them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from tests.real import leaks
from tests.real.platform_rig import Platform, platform
from tests.real.storm import Storm, images, victims

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")
SEED = int(os.environ.get("GROUND_SOAK_SEED", "11"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Platform]:
    with platform("10.22.0.1") as made:
        images(made)
        yield made


def test_kills_at_random_moments_disturb_nobody(cluster: Platform) -> None:
    storm = Storm(cluster, SEED)
    storm.begin()
    for victim in victims(15, SEED):
        storm.strike(victim)
    report = storm.end()
    assert report.faults == [], f"{report}\n{cluster.log()[-4000:]}"
    assert report.requests > 100
    assert report.writes > 50


@pytest.mark.parametrize("order", [("spawner", "groundd"), ("groundd", "spawner")], ids="+".join)
def test_going_down_right_after_spawner_and_daemon_were_killed(cluster: Platform, order: tuple[str, str]) -> None:
    """Whichever of the two is left restarts the other; a command that comes between finds the one that they start."""
    storm = Storm(cluster, SEED)
    [before] = storm.retry("GET", "/api/v1/nodes")["items"]
    for victim in order:
        for pid in storm.pids(victim)[:1]:
            os.kill(pid, signal.SIGKILL)
    cluster.ground("down")
    storm.eventually(lambda: not leaks.left(cluster.root, cluster.run_dir), "nothing is left")  # or just ends
    cluster.ground("up")
    assert storm.retry("GET", "/api/v1/nodes")["items"][0]["metadata"]["uid"] == before["metadata"]["uid"]
