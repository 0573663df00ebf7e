"""kill -9 of daemon, spawner and supervisors while the cluster works: nobody notices. Long form: bench/soak.py."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.real.platform_rig import Platform, platform
from tests.real.storm import Storm, victims

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")
SEED = int(os.environ.get("GROUND_SOAK_SEED", "11"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Platform]:
    with platform("10.22.0.1") as made:
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
