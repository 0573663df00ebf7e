"""Strategic merge patch: merge keys, directives, order; and that nothing given is changed."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from groundplane.kinds import schema, strategic

POD = schema.get_type("core.v1.Pod")
DEPLOYMENT = schema.get_type("apps.v1.Deployment")
SERVICE = schema.get_type("core.v1.Service")


def patched_containers(original: list[Any], patch: dict[str, Any]) -> Any:
    document = {"spec": {"containers": original}}
    before = copy.deepcopy(document)
    result = strategic.apply(POD, document, {"spec": patch})
    assert document == before
    return result["spec"]["containers"]


A, B, C = ({"name": n, "image": f"{n}:1"} for n in "abc")


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"containers": [{"name": "b", "image": "b:2"}]}, [A, {"name": "b", "image": "b:2"}]),
        ({"containers": [C]}, [A, B, C]),
        ({"containers": [{"name": "a", "$patch": "delete"}]}, [B]),
        ({"containers": [{"$patch": "replace"}, C]}, [C]),
        ({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}, [B, A]),
        ({"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}], "containers": [C]}, [A, C, B]),
        ({"containers": [{"name": "a", "image": None}]}, [{"name": "a"}, B]),
    ],
)
def test_list_of_maps(patch: dict[str, Any], expected: list[Any]) -> None:
    found = patched_containers([A, B], patch)
    assert sorted(found, key=str) == sorted(expected, key=str)
    if "$setElementOrder/containers" in patch:
        asked = [e["name"] for e in patch["$setElementOrder/containers"]]
        assert [c["name"] for c in found if c["name"] in asked] == asked


def test_primitive_lists_merge_and_delete() -> None:
    document = {"metadata": {"finalizers": ["a/a", "b/b"]}}
    added = strategic.apply(POD, document, {"metadata": {"finalizers": ["c/c"]}})
    assert set(added["metadata"]["finalizers"]) == {"a/a", "b/b", "c/c"}
    removed = strategic.apply(POD, document, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"]}})
    assert removed["metadata"]["finalizers"] == ["b/b"]


def test_lists_without_merge_strategy_are_replaced() -> None:
    document = {"spec": {"containers": [{"name": "a", "command": ["x", "y"]}]}}
    patch = {"spec": {"containers": [{"name": "a", "command": ["z"]}]}}
    assert strategic.apply(POD, document, patch)["spec"]["containers"][0]["command"] == ["z"]


def test_retain_keys_switches_a_union() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(DEPLOYMENT, document, patch)["spec"]["strategy"] == {"type": "Recreate"}


def test_ports_merge_by_port() -> None:
    document = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    result = strategic.apply(SERVICE, document, {"spec": {"ports": [{"port": 80, "name": "web"}]}})
    assert result["spec"]["ports"] == [{"port": 80, "targetPort": 8080, "name": "web"}]


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"$patch": "odd"}},
        {"spec": {"containers": [{"image": "nameless"}]}},
        {"spec": {"strategy": 1, "nope": {"a": 1}}},
        {"spec": {"$retainKeys": ["a"], "b": 1}},
        ["list"],
    ],
)
def test_refused(patch: Any) -> None:
    document = {"metadata": {"name": "x"}, "spec": {"containers": [A], "nope": {"b": 1}}}
    with pytest.raises(strategic.StrategicPatchError):
        strategic.apply(POD, document, patch)


def test_long_lists_take_no_time() -> None:
    """30,000 elements, merged, deleted, ordered: seconds of everybody's time were they compared one with another."""
    ports = [{"port": n, "protocol": "TCP", "name": f"p{n}"} for n in range(30_000)]
    order = [{"port": n} for n in range(30_000)]
    merged = [{"port": n, "name": "x"} for n in range(29_999, -1, -1)]
    gone = [{"port": n, "$patch": "delete"} for n in range(0, 30_000, 2)]
    finalizers = [f"f{n}" for n in range(30_000)]
    began = time.process_time()
    made = strategic.apply(
        SERVICE,
        {"metadata": {"finalizers": finalizers}, "spec": {"ports": ports}},
        {
            "metadata": {"$deleteFromPrimitiveList/finalizers": finalizers[::-1]},
            "spec": {"ports": merged, "$setElementOrder/ports": order},
        },
    )
    assert [p["port"] for p in made["spec"]["ports"]] == list(range(30_000))
    assert not made["metadata"]["finalizers"]
    made = strategic.apply(SERVICE, made, {"spec": {"ports": gone}})
    assert len(made["spec"]["ports"]) == 15_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"strategy": {"$retainKeys": [{}]}}},
        {"metadata": {"finalizers": [["a"]]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": [["a"], {}]}},
        {"metadata": {"$setElementOrder/finalizers": [["a"], {}]}},
    ],
)
def test_what_cannot_be_a_key_is_refused_or_left_to_the_decoder(patch: dict[str, Any]) -> None:
    document = {"metadata": {"finalizers": ["a"]}, "spec": {"strategy": {"type": "Recreate"}}}
    try:
        strategic.apply(DEPLOYMENT, document, patch)
    except strategic.StrategicPatchError:
        pass
