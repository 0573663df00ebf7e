"""What `kubectl get` shows."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.kinds import decode, defaults, resources, schema, tables
from groundplane.kinds.tables.cells import human_duration

NOW = 1767323045.0  # 2026-01-02T03:04:05Z


def _cells(group: str, plural: str, data: dict[str, Any], version: str = "v1") -> list[Any]:
    resource = resources.find(group, version, plural)
    assert resource is not None
    type_ = schema.type_of(group, version, resource.kind)
    assert type_ is not None
    columns, rows = tables.table(resource, [defaults.apply(resource, decode.decode(type_, data)[0])], NOW)
    assert len(columns) == len(rows[0])
    return rows[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"),
        (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (8 * 3600, "8h"), (47 * 3600, "47h"),
        (50 * 3600, "2d2h"), (8 * 86400, "8d"), (729 * 86400, "729d"), (800 * 86400, "2y70d"), (9 * 365 * 86400, "9y"),
    ],
)  # fmt: skip
def test_durations_have_two_figures_at_most(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def _pod(status: dict[str, Any], spec: dict[str, Any] | None = None, **meta: Any) -> list[Any]:
    spec = {"containers": [{"name": "a"}, {"name": "b"}], **(spec or {})}
    meta = {"name": "p", "creationTimestamp": "2026-01-02T03:03:05Z", **meta}
    return _cells("", "pods", {"metadata": meta, "spec": spec, "status": status})[:5]


def _running(name: str, restarts: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": True, "restartCount": restarts, "state": {"running": {}}, **more}


def _in(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


ENDED = {"terminated": {"exitCode": 1, "finishedAt": "2026-01-02T03:04:00Z"}}


@pytest.mark.parametrize(
    ("status", "spec", "meta", "cells"),
    [
        ({"phase": "Pending"}, {}, {}, ["0/2", "Pending", "0"]),
        ({"phase": "Running", "containerStatuses": [_running("a"), _running("b")]}, {}, {}, ["2/2", "Running", "0"]),
        (
            {"phase": "Running", "containerStatuses": [_running("a", 3, lastState=ENDED)]},
            {}, {}, ["1/2", "Running", "3 (5s ago)"],
        ),
        (
            {"phase": "Running", "containerStatuses": [_in("a", waiting={"reason": "CrashLoopBackOff"})]},
            {}, {}, ["0/2", "CrashLoopBackOff", "0"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [_in("a", terminated={"exitCode": 3})]},
            {}, {}, ["0/2", "ExitCode:3", "0"],
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [_in("i", waiting={"reason": "PodInitializing"})]},
            {"initContainers": [{"name": "i"}, {"name": "j"}]}, {}, ["0/2", "Init:0/2", "0"],
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [_in("i", terminated={"exitCode": 9, "reason": "Error"})]},
            {"initContainers": [{"name": "i"}]}, {}, ["0/2", "Init:Error", "0"],
        ),
        (
            {
                "phase": "Running", "containerStatuses": [_running("a"), _running("b")],
                "initContainerStatuses": [_running("s", 2, started=True)],
            },
            {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}, {}, ["3/3", "Running", "2"],
        ),
        ({"phase": "Running"}, {}, {"deletionTimestamp": "2026-01-02T03:04:05Z"}, ["0/2", "Terminating", "0"]),
        ({"phase": "Failed", "reason": "Evicted"}, {}, {}, ["0/2", "Evicted", "0"]),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            {}, {}, ["0/2", "SchedulingGated", "0"],
        ),
    ],
)  # fmt: skip
def test_a_pods_status_sums_up_its_containers(
    status: dict[str, Any], spec: dict[str, Any], meta: dict[str, Any], cells: list[str]
) -> None:
    assert _pod(status, spec, **meta) == ["p", *cells, "60s"]


def test_services_show_where_they_can_be_reached() -> None:
    ports = [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]
    spec = {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": ports}
    cells = _cells("", "services", {"metadata": {"name": "s"}, "spec": {**spec, "selector": {"b": "2", "a": "1"}}})
    assert cells == ["s", "LoadBalancer", "10.96.0.1", "<pending>", "80:30080/TCP,53/UDP", "<unknown>", "a=1,b=2"]


def test_lists_are_cut_short() -> None:
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, 6)]
    subsets = [{"addresses": addresses, "ports": [{"port": 80}]}]
    cells = _cells("", "endpoints", {"metadata": {"name": "e"}, "subsets": subsets})
    assert cells[1] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."


def test_autoscalers_show_their_targets() -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}
    cells = _cells("autoscaling", "horizontalpodautoscalers", {"metadata": {"name": "h"}, "spec": spec}, "v2")
    assert cells[1:6] == ["Deployment/d", "cpu: <unknown>/80%", "1", 3, 0]


@pytest.mark.parametrize("resource", resources.resources(), ids=lambda r: f"{r.qualified}.{r.version}")
def test_every_kind_has_a_cell_for_every_column(resource: resources.Resource) -> None:
    type_ = schema.type_of(resource.group, resource.version, resource.kind)
    assert type_ is not None
    obj = defaults.apply(resource, decode.decode(type_, {"metadata": {"name": "a"}})[0])
    columns, rows = tables.table(resource, [obj], NOW)
    assert len(rows[0]) == len(columns)
