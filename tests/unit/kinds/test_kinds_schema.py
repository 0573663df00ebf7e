"""The generated pack: resources, types, and what the readers of it rely on."""

from __future__ import annotations

import pytest

from groundplane.kinds import resources, schema


@pytest.mark.parametrize(
    ("group", "plural", "namespace", "name", "key"),
    [
        ("", "pods", "a", "b", "/registry/pods/a/b"),
        ("", "services", "a", "b", "/registry/services/specs/a/b"),
        ("", "endpoints", "a", "b", "/registry/services/endpoints/a/b"),
        ("", "nodes", "", "b", "/registry/minions/b"),
        ("", "replicationcontrollers", "a", "b", "/registry/controllers/a/b"),
        ("apps", "deployments", "a", "b", "/registry/deployments/a/b"),
        ("networking.k8s.io", "ingresses", "a", "b", "/registry/ingress/a/b"),
        ("rbac.authorization.k8s.io", "clusterroles", "", "b", "/registry/clusterroles/b"),
        ("events.k8s.io", "events", "a", "b", "/registry/events/a/b"),
    ],
)
def test_keys_are_upstreams(group: str, plural: str, namespace: str, name: str, key: str) -> None:
    found = resources.find(group, "v1", plural)
    assert found is not None
    assert found.key(namespace, name) == key


def test_every_resource_and_subresource_has_a_type() -> None:
    wire_only = {"NodeProxyOptions", "ServiceProxyOptions"}
    for resource in resources.resources():
        assert schema.type_of(resource.group, resource.version, resource.kind), resource.qualified
        for sub in resource.subresources.values():
            options = sub.kind.endswith("Options") or sub.kind in wire_only
            assert options or schema.type_of(sub.group, sub.version, sub.kind), (resource.qualified, sub)


def test_every_reference_leads_to_a_type_and_numbers_are_unique() -> None:
    for name in schema.type_names():
        found = schema.get_type(name)
        numbers = [f.numbers for f in found.fields.values() if f.numbers]
        assert len(numbers) == len(set(numbers)), name
        for field in found.fields.values():
            innermost = field.type
            while innermost.element is not None:
                innermost = innermost.element
            assert innermost.kind not in (schema.LIST, schema.MAP), (name, field.name)


def test_what_merging_needs_to_know() -> None:
    spec = schema.get_type("core.v1.PodSpec")
    field = spec.fields["containers"]
    containers = field.type
    assert (containers.kind, containers.list_type, containers.list_keys) == ("list", "map", ("name",))
    assert (field.strategies, field.merge_key) == (("merge",), "name")
    assert containers.element is not None
    assert containers.element.full_name == "io.k8s.api.core.v1.Container"
    assert spec.fields["nodeSelector"].type.atomic
    assert spec.fields["tolerations"].type.atomic
    assert schema.get_type("apps.v1.DeploymentSpec").fields["selector"].type.atomic
    assert schema.get_type("apps.v1.Deployment").fields["status"].value_struct
    assert not spec.fields["affinity"].value_struct
    claim = schema.get_type("core.v1.PersistentVolumeSpec").fields["claimRef"].type
    assert not claim.atomic
    assert claim.fields["name"].kind == "string"
    assert schema.get_type("core.v1.Volume").fields["configMap"].numbers == (2, 19)


def test_options_are_known_in_every_group() -> None:
    found = schema.type_of("apps", "v1", "DeleteOptions")
    assert found is not None
    assert found.name == "meta.v1.DeleteOptions"
    assert schema.type_of("t.example", "v1", "Box") is None
