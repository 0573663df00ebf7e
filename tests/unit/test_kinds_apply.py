"""Server-side apply and field ownership: merging, conflicts, force, what an omission removes (KEP-555)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.kinds import apply, fieldsets, schema, typedvalues
from groundplane.kinds.apply import ApplyConflict, Writer

CONFIG_MAP = schema.get_type("core.v1.ConfigMap")
DEPLOYMENT = schema.get_type("apps.v1.Deployment")
Object = dict[str, Any]


def config_map(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def by(manager: str, api_version: str = "v1") -> Writer:
    return Writer(manager, api_version, time="2026-01-01T00:00:00Z")


def applied(live: Object | None, config: Object, manager: str, *, force: bool = False) -> Object:
    return apply.apply(CONFIG_MAP, live, config, by(manager), force=force)


def owners(object: Object) -> dict[str, Any]:
    return {f"{e['manager']}/{e['operation']}": e["fieldsV1"] for e in object["metadata"].get("managedFields", ())}


def test_appliers_share_equal_fields_and_conflict_over_others() -> None:
    live = applied(None, config_map(x="1", y="1"), "one")
    live = applied(live, config_map(x="1"), "two")
    assert owners(live) == {"one/Apply": {"f:data": {"f:x": {}, "f:y": {}}}, "two/Apply": {"f:data": {"f:x": {}}}}
    with pytest.raises(ApplyConflict) as caught:
        applied(live, config_map(y="2"), "three")
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "one": .data.y'
    forced = applied(live, config_map(y="2"), "three", force=True)
    assert forced["data"] == {"x": "1", "y": "2"}
    assert owners(forced)["one/Apply"] == {"f:data": {"f:x": {}}}


def test_omitting_a_field_removes_it_only_when_nobody_else_owns_it() -> None:
    live = applied(None, config_map(x="1", y="1"), "one")
    live = applied(live, config_map(x="1"), "two")
    live = applied(live, config_map(), "one")
    assert live["data"] == {"x": "1"}
    live = applied(live, config_map(), "two")
    assert not live.get("data")


def test_an_updater_takes_what_it_changes() -> None:
    live = applied(None, config_map(x="1", y="1"), "one")
    new = {**live, "data": {"y": "3", "z": "1"}}
    updated = apply.update(CONFIG_MAP, live, new, by("upd"))
    assert owners(updated) == {"upd/Update": {"f:data": {"f:y": {}, "f:z": {}}}}
    with pytest.raises(ApplyConflict) as caught:
        applied(updated, config_map(y="9", z="2"), "one")
    sentence = 'Apply failed with 2 conflicts: conflicts with "upd" using v1:\n- .data.y\n- .data.z'
    assert str(caught.value) == sentence


def test_a_created_object_is_owned_without_the_structs_go_always_writes() -> None:
    containers = [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]
    new = {
        "metadata": {"name": "d", "labels": {"l": "1"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"l": "1"}},
            "template": {"spec": {"containers": containers}},
        },
    }
    created = apply.update(DEPLOYMENT, None, new, by("kubectl-create", "apps/v1"))
    assert owners(created)["kubectl-create/Update"] == {
        "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"a"}': {
                            ".": {}, "f:image": {}, "f:name": {},
                            "f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"TCP"}': {
                                ".": {}, "f:containerPort": {}, "f:protocol": {}}},
                        }
                    }
                }
            },
        },
    }  # fmt: skip


def test_keyed_lists_merge_by_key_and_keep_the_appliers_order() -> None:
    def deployment(*names: str, image: str = "i") -> Object:
        containers = [{"name": n, "image": image} for n in names]
        return {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": containers}}}}

    def names(object: Object) -> list[str]:
        return [c["name"] for c in object["spec"]["template"]["spec"]["containers"]]

    live = apply.apply(DEPLOYMENT, None, deployment("a", "b"), by("one", "apps/v1"), force=False)
    live = apply.apply(DEPLOYMENT, live, deployment("side"), by("two", "apps/v1"), force=False)
    assert names(live) == ["a", "b", "side"]
    live = apply.apply(DEPLOYMENT, live, deployment("b", "a", image="j"), by("one", "apps/v1"), force=False)
    assert [n for n in names(live) if n != "side"] == ["b", "a"]
    live = apply.apply(DEPLOYMENT, live, deployment("a"), by("one", "apps/v1"), force=False)
    assert sorted(names(live)) == ["a", "side"]


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], '.spec.template.spec.containers: duplicate entries for key [name="a"]'),
        ([{"name": "a", "foo": 1}], '.spec.template.spec.containers[name="a"].foo: field not declared in schema'),
        ({"name": "a"}, ".spec.template.spec.containers: expected list, got map"),
    ],
)
def test_a_configuration_must_fit_the_schema(containers: Any, message: str) -> None:
    config = {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": containers}}}}
    with pytest.raises(typedvalues.TypedError) as caught:
        apply.apply(DEPLOYMENT, None, config, by("one", "apps/v1"), force=False)
    assert str(caught.value) == message


def test_an_unchanged_apply_changes_nothing() -> None:
    live = applied(None, config_map(x="1"), "one")
    assert applied(live, config_map(x="1"), "one") == live


DATA = st.dictionaries(st.sampled_from("wxyz"), st.sampled_from("12"), max_size=4)


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), DATA), min_size=1, max_size=8))
def test_whoever_applied_last_by_force_has_its_way_and_nothing_is_orphaned(
    history: list[tuple[str, dict[str, str]]],
) -> None:
    """The object always equals the union of what its appliers last said, the later winning."""
    live: Object | None = None
    said: dict[str, dict[str, str]] = {}
    for manager, data in history:
        live = applied(live, config_map(**data), manager, force=True)
        for other in said:
            said[other] = {k: v for k, v in said[other].items() if data.get(k, v) == v}
        said[manager] = data
        expected = {k: v for d in said.values() for k, v in d.items()}
        assert (live.get("data") or {}) == expected


SETS = st.recursive(
    st.just(fieldsets.LEAF),
    lambda s: st.dictionaries(st.sampled_from(["f:a", "f:b", 'v:"c"']), s, min_size=1, max_size=3),
)


@settings(derandomize=True)
@given(SETS, SETS)
def test_field_sets_are_sets(a: fieldsets.FieldSet, b: fieldsets.FieldSet) -> None:
    def members(fields: fieldsets.FieldSet) -> set[str]:
        return set(fieldsets.paths(fields))

    assert members(fieldsets.union(a, b)) == members(a) | members(b)
    assert members(fieldsets.difference(a, b)) == members(a) - members(b)
    assert members(fieldsets.intersection(a, b)) == members(a) & members(b)
    if "." not in a:
        assert fieldsets.decode(fieldsets.encode(a)) == a


def test_a_missing_key_field_takes_its_declared_default() -> None:
    service = schema.get_type("core.v1.Service")
    config = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 53, "name": "t"}]}}
    made = apply.apply(service, None, config, by("one"), force=False)
    assert list(owners(made)["one/Apply"]["f:spec"]["f:ports"]) == ['k:{"port":53,"protocol":"TCP"}']
