"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396): results, refusals, and that nothing given is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.kinds import jsonpatch, mergepatch

DOCUMENT: dict[str, Any] = {"a": {"b": [1, 2, 3], "x/y": 1}, "c": None}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/a/b/1", "value": 9}, {"a": {"b": [1, 9, 2, 3], "x/y": 1}, "c": None}),
        ({"op": "add", "path": "/a/b/-", "value": 9}, {"a": {"b": [1, 2, 3, 9], "x/y": 1}, "c": None}),
        ({"op": "replace", "path": "/a/x~1y", "value": 2}, {"a": {"b": [1, 2, 3], "x/y": 2}, "c": None}),
        ({"op": "remove", "path": "/a/b/0"}, {"a": {"b": [2, 3], "x/y": 1}, "c": None}),
        ({"op": "move", "from": "/a/b", "path": "/b"}, {"a": {"x/y": 1}, "b": [1, 2, 3], "c": None}),
        ({"op": "copy", "from": "/a/b/2", "path": "/c"}, {"a": {"b": [1, 2, 3], "x/y": 1}, "c": 3}),
        ({"op": "test", "path": "/a/b", "value": [1, 2, 3]}, DOCUMENT),
        ({"op": "test", "path": "/missing", "value": None}, DOCUMENT),
    ],
)
def test_json_patch(operation: dict[str, Any], expected: Any) -> None:
    before = copy.deepcopy(DOCUMENT)
    assert jsonpatch.apply(DOCUMENT, [operation]) == expected
    assert before == DOCUMENT


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope", "value": 1},
        {"op": "add", "path": "/nope/deeper", "value": 1},
        {"op": "add", "path": "/a/b/4", "value": 1},
        {"op": "test", "path": "/a/b/0", "value": True},
        {"op": "odd", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "add", "path": "/z"},
    ],
)
def test_json_patch_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(jsonpatch.PatchError):
        jsonpatch.apply(DOCUMENT, [operation])


@pytest.mark.parametrize("token", ["²", "٣", "9" * 5000])
def test_what_is_no_index(token: str) -> None:
    for op in ("add", "remove", "replace"):
        with pytest.raises(jsonpatch.PatchError):
            jsonpatch.apply([1, 2, 3, 4, 5], [{"op": op, "path": f"/{token}", "value": 1}])


def test_patches_that_grow_without_end_are_refused() -> None:
    bomb = [{"op": "add", "path": "/a", "value": ["x" * 1000]}, *[{"op": "copy", "from": "/a", "path": "/a/-"}] * 60]
    with pytest.raises(jsonpatch.PatchError, match="exceeding the limit"):
        jsonpatch.apply({}, bomb)
    with pytest.raises(jsonpatch.PatchError, match="is 10000, got 10001") as refused:
        jsonpatch.apply({}, [{"op": "test", "path": "/a"}] * 10_001)
    assert refused.value.too_large


def test_a_patch_can_be_carried_out_again() -> None:
    """As it is when somebody else wrote in between."""
    patch = [{"op": "add", "path": "/a", "value": []}, {"op": "add", "path": "/a/-", "value": 1}]
    assert jsonpatch.apply({}, patch) == jsonpatch.apply({}, patch) == {"a": [1]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@settings(derandomize=True)
@given(
    JSON,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "move", "copy", "test", "replace"]),
                "path": st.sampled_from(["", "/", "/a", "/0", "/a/0", "//"]),
                "from": st.just("/a"),
                "value": JSON,
            }
        ),
        max_size=3,
    ),
)
def test_json_patch_never_fails_otherwise(document: Any, patch: Any) -> None:
    before = copy.deepcopy(document)
    try:
        jsonpatch.apply(document, patch)
    except jsonpatch.PatchError:
        pass
    assert document == before


def test_merge_patch_follows_the_rfc_example() -> None:
    document = {"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["a", "b"]}
    patch = {"title": "Hello!", "phone": "1", "author": {"familyName": None}, "tags": ["a"]}
    assert mergepatch.apply(document, patch) == {
        "title": "Hello!",
        "phone": "1",
        "author": {"givenName": "John"},
        "tags": ["a"],
    }


OBJECTS = st.dictionaries(
    st.text(max_size=2),
    st.integers(0, 3) | st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=2),
    max_size=4,
)


@settings(derandomize=True)
@given(OBJECTS, OBJECTS)
def test_merge_patch_difference_leads_from_one_to_the_other(old: Any, new: Any) -> None:
    assert mergepatch.apply(old, mergepatch.difference(old, new)) == new
