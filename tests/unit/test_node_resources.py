"""A container's cgroup limits and OOM score from its requests and limits (kubelet's pkg/kubelet/cm, qos)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.node_builders import container, pod

from groundplane.node.resources import Host, container_resources, pod_resources

MEMORY = 1 << 30
SURE = {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}}
SOME = {"requests": {"memory": "256Mi"}}

SCORES: list[tuple[dict[str, Any], int, int]] = [
    (SURE, -1000, -997),
    (SURE, 0, 0),  # a host that may not lower scores gives its own
    (SURE, -500, -500),
    (SOME, -1000, 750),
    (SOME, 0, 750),
    ({}, 0, 1000),
]


@pytest.mark.parametrize(("resources", "lowest", "score"), SCORES)
def test_oom_score(resources: dict[str, Any], lowest: int, score: int) -> None:
    one = container(resources=resources)
    assert container_resources(pod(one), one, Host(MEMORY, lowest)).oom_score_adj == score


def test_a_pod_is_limited_only_where_all_of_its_containers_are() -> None:
    limited, unlimited = container(resources=SURE), container("init")
    assert pod_resources(pod(limited)).memory == 64 << 20
    assert pod_resources(pod(limited, init=(unlimited,))).memory == 0
    larger = container("init", resources={"limits": {"cpu": "2", "memory": "1Gi"}})
    assert pod_resources(pod(limited, init=(larger,))).memory == 1 << 30
