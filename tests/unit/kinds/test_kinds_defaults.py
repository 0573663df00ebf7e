"""Defaults: the rules that are easy to get wrong, and that nothing fails on an empty object."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.kinds import decode, defaults, resources, schema


def _default(api_version: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    group, version = schema.split_api_version(api_version)
    found = schema.type_of(group, version, kind)
    assert found is not None
    return defaults.apply_kind(group, version, kind, decode.decode(found, data)[0])


@pytest.mark.parametrize("resource", resources.resources(), ids=lambda r: f"{r.qualified}.{r.version}")
def test_an_empty_object_of_every_kind_can_be_completed(resource: resources.Resource) -> None:
    found = schema.type_of(resource.group, resource.version, resource.kind)
    assert found is not None
    obj = defaults.apply(resource, decode.decode(found, {})[0])
    again = defaults.apply(resource, decode.decode(found, obj)[0])
    assert again == decode.decode(found, again)[0]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("img", "Always"),
        ("img:latest", "Always"),
        ("img:1", "IfNotPresent"),
        ("host:5000/a/b", "Always"),
        ("host:5000/a/b:2", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
        ("a:latest@sha256:" + "0" * 64, "Always"),
        ("Bad Name", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    pod = _default("v1", "Pod", {"spec": {"containers": [{"name": "c", "image": image}]}})
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_requests_follow_limits_in_pods_but_not_in_templates() -> None:
    spec = {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Mi"}}}]}
    pod = _default("v1", "Pod", {"spec": spec})
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"memory": "1Mi", "cpu": "1"}
    spec = {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}
    deployment = _default("apps/v1", "Deployment", {"spec": {"template": {"spec": spec}}})
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"limits": {"cpu": "1"}}
    assert "enableServiceLinks" not in deployment["spec"]["template"]["spec"]


def test_host_network_gives_host_ports_to_pods() -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}
    port = _default("v1", "Pod", {"spec": spec})["spec"]["containers"][0]["ports"][0]
    assert port == {"containerPort": 80, "hostPort": 80, "protocol": "TCP"}


def test_amounts_are_rounded_up_to_thousandths() -> None:
    spec = {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1u", "memory": "100n"}}}]}
    limits = _default("v1", "Pod", {"spec": spec})["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1m", "memory": "1m"}


def test_a_secrets_plain_text_becomes_data() -> None:
    secret = _default("v1", "Secret", {"stringData": {"a": "ü", "b": "2"}, "data": {"b": "MQ==", "c": "Mw=="}})
    assert secret["data"] == {"a": "w7w=", "b": "Mg==", "c": "Mw=="}
    assert "stringData" not in secret


def test_a_limit_range_completes_itself() -> None:
    item = {"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "default": {"cpu": "1"}, "min": {"pods": "1"}}
    found = _default("v1", "LimitRange", {"spec": {"limits": [item]}})["spec"]["limits"][0]
    assert found["default"] == {"cpu": "1", "memory": "1Gi"}
    assert found["defaultRequest"] == {"cpu": "1", "memory": "1Gi", "pods": "1"}


def test_a_recreate_deployment_has_no_rolling_update() -> None:
    spec = {"strategy": {"type": "Recreate"}}
    assert _default("apps/v1", "Deployment", {"spec": spec})["spec"]["strategy"] == {"type": "Recreate"}


def test_the_two_names_of_a_service_account_are_one() -> None:
    assert _default("v1", "Pod", {"spec": {"serviceAccount": "a"}})["spec"]["serviceAccountName"] == "a"
    both = _default("v1", "Pod", {"spec": {"serviceAccount": "a", "serviceAccountName": "b"}})
    assert both["spec"]["serviceAccount"] == "b"
