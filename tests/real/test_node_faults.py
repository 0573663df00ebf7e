"""kill -9 of daemon, spawner and supervisors while the cluster works: nobody notices. Long form: bench/soak.py."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from tests.real import leaks
from tests.real.platform_rig import Platform, platform
from tests.real.storm import PODS, Storm, box_pod, images, is_ready, victims

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")
SEED = int(os.environ.get("GROUND_SOAK_SEED", "11"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Platform]:
    with platform("10.22.0.1") as made:
        images(made)
        yield made


@pytest.mark.parametrize("milliseconds", [0, 10, 25, 50, 80, 120])
def test_a_daemon_killed_between_any_two_steps_of_a_pods_start(cluster: Platform, milliseconds: int) -> None:
    """Whatever was done when it died is taken over or done again: one sandbox, one container, started once."""
    storm = Storm(cluster, SEED)
    name = f"born-{milliseconds}"
    once = "test -e /seen/it && echo again; echo > /seen/it; echo up; sleep 1000"
    spec = box_pod(once)
    spec["containers"][0]["volumeMounts"] = [{"name": "seen", "mountPath": "/seen"}]
    spec["volumes"] = [{"name": "seen", "emptyDir": {"medium": "Memory"}}]
    [pid] = storm.pids("groundd")
    uid = cluster.api.run_pod(name, spec)["metadata"]["uid"]
    time.sleep(milliseconds / 1000)  # the moment of the kill, not a proof
    os.kill(pid, signal.SIGKILL)
    storm.eventually(lambda: is_ready(cluster.api.pod(name)), f"{name} is ready")
    seen = storm.retry("GET", f"{PODS}/{name}")
    assert seen["metadata"]["uid"] == uid
    assert seen["status"]["containerStatuses"][0]["restartCount"] == 0
    storm.eventually(lambda: cluster.api.log(name) == "up\n", "its log says that it started, once")
    assert len(os.listdir(cluster.root / "sandboxes")) == len(os.listdir(cluster.root / "containers")) == 1
    storm.retry("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
    storm.eventually(lambda: not os.listdir(cluster.root / "sandboxes"), "its sandbox is gone")
    storm.eventually(lambda: not os.listdir(cluster.root / "containers"), "its container is gone")


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
    assert leaks.left(cluster.root, cluster.run_dir) == []
    cluster.ground("up")
    assert storm.retry("GET", "/api/v1/nodes")["items"][0]["metadata"]["uid"] == before["metadata"]["uid"]
