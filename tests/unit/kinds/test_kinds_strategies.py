"""What creating and updating do to an object before it is validated."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.base.jsonyaml import dumps, loads
from groundplane.kinds import decode, defaults, resources, schema, services, strategies

NOW = "2026-01-02T03:04:05Z"


def _made(group: str, plural: str, data: dict[str, Any]) -> tuple[strategies.Strategy, dict[str, Any]]:
    resource = resources.find(group, "v1", plural)
    assert resource is not None
    type_ = schema.type_of(group, "v1", resource.kind)
    assert type_ is not None
    return strategies.of(resource), defaults.apply(resource, decode.decode(type_, data)[0])


def _deployment(**meta: Any) -> tuple[strategies.Strategy, dict[str, Any]]:
    return _made("apps", "deployments", {"metadata": {"name": "d", **meta}, "status": {"replicas": 3}})


def test_a_create_resets_the_status_and_starts_the_generation() -> None:
    strategy, obj = _deployment(generation=7)
    strategy.prepare_create(obj, NOW)
    assert obj["status"] == {}
    assert obj["metadata"]["generation"] == 1


def test_an_update_keeps_the_status_and_counts_changes_of_the_spec() -> None:
    strategy, old = _deployment(uid="u", generation=4, creationTimestamp=NOW)
    _, new = _deployment()
    new["status"] = {"replicas": 9}
    strategy.prepare_update(new, old, NOW)
    assert (new["status"], new["metadata"]["uid"], new["metadata"]["generation"]) == ({"replicas": 3}, "u", 4)
    _, new = _deployment()
    new["spec"]["replicas"] = 5
    strategy.prepare_update(new, old, NOW)
    assert new["metadata"]["generation"] == 5
    _, new = _deployment(annotations={"a": "b"})
    strategy.prepare_update(new, old, NOW)
    assert new["metadata"]["generation"] == 5
    assert strategy.reset_fields == {"f:status": {}}


def test_a_status_update_keeps_everything_else() -> None:
    strategy, old = _deployment(labels={"a": "b"}, generation=2)
    _, new = _deployment(labels={"x": "y"})
    new["spec"]["replicas"] = 9
    new["status"] = {"replicas": 1}
    strategy.prepare_status(new, old, NOW)
    assert new["spec"] == old["spec"]
    assert new["metadata"]["labels"] == {"a": "b"}
    assert new["status"] == {"replicas": 1}
    assert strategy.reset_fields_of_status == {"f:spec": {}, "f:metadata": {"f:labels": {}}}


def test_a_new_pod_is_pending_and_classified() -> None:
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    strategy, pod = _made("", "pods", {"spec": {"containers": [{"name": "c", "resources": limits}]}})
    strategy.prepare_create(pod, NOW)
    assert pod["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}
    gated = {"schedulingGates": [{"name": "g"}], "containers": [{"name": "c"}]}
    strategy, pod = _made("", "pods", {"spec": gated})
    strategy.prepare_create(pod, NOW)
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert pod["status"]["qosClass"] == "BestEffort"


@pytest.mark.parametrize(
    ("new", "old", "port"),
    [
        ({"type": "NodePort", "ports": [{"port": 80}]}, 30080, 30080),
        ({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30080}]}, 30080, None),
        ({"type": "NodePort", "ports": [{"port": 81}]}, 30080, None),
    ],
)
def test_a_service_keeps_what_was_allocated_while_its_type_needs_it(
    new: dict[str, Any], old: int, port: int | None
) -> None:
    before = {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}
    before["ports"] = [{"port": 80, "nodePort": old}]  # type: ignore[assignment]
    services.carry_allocated(new, before)
    services.drop_by_type(new, before)
    assert new["clusterIP"] == "10.96.0.9"
    assert new["ports"][0].get("nodePort") == port


def test_a_job_gets_a_selector_of_its_own() -> None:
    strategy, job = _made("batch", "jobs", {"metadata": {"name": "j", "uid": "u"}})
    strategy.prepare_create(job, NOW)
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"


def test_a_claims_two_data_sources_are_one() -> None:
    source = {"kind": "PersistentVolumeClaim", "name": "other"}
    strategy, old = _made("", "persistentvolumeclaims", {"spec": {"dataSource": source}})
    strategy.prepare_create(old, NOW)
    assert old["spec"]["dataSourceRef"] == {"apiGroup": None, **source}  # not omitempty
    _, new = _made("", "persistentvolumeclaims", {"spec": {"dataSource": source}})
    strategy.prepare_update(new, old, NOW)
    assert new["spec"] == old["spec"]


def test_field_selectors_see_values_as_text() -> None:
    strategy, pod = _made("", "pods", {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "x"}})
    found = strategy.selectable(pod)
    assert found["spec.nodeName"] == "x"
    assert found["spec.hostNetwork"] == "false"
    assert set(found) == set(strategy.selectable_fields())


@pytest.mark.parametrize("resource", resources.resources(), ids=lambda r: f"{r.qualified}.{r.version}")
def test_every_resource_goes_through_a_create_and_an_update(resource: resources.Resource) -> None:
    type_ = schema.type_of(resource.group, resource.version, resource.kind)
    assert type_ is not None
    strategy = strategies.of(resource)
    old = defaults.apply(resource, decode.decode(type_, {"metadata": {"name": "a"}})[0])
    strategy.prepare_create(old, NOW)
    new = decode.decode(type_, loads(dumps(old)))[0]
    strategy.prepare_update(new, old, NOW)
    assert new["metadata"].get("generation") == old["metadata"].get("generation")
    if strategy.has_status:
        strategy.prepare_status(decode.decode(type_, new)[0], old, NOW)
    strategy.validate_create(old)
    strategy.validate_update(new, old)
