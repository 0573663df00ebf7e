"""YAML as kubectl prints it: quotes where another reader would see another type, blocks for several lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.base.jsonyaml import yaml_dumps, yaml_loads

WRITTEN: list[tuple[Any, str]] = [
    ("plain words", "a: plain words\n"),
    ("8", 'a: "8"\n'),
    ("yes", 'a: "yes"\n'),
    ("", 'a: ""\n'),
    ("null", 'a: "null"\n'),
    ("2026-11-21T07:07:04Z", 'a: "2026-11-21T07:07:04Z"\n'),
    ("22:22", 'a: "22:22"\n'),
    ("10.96.0.1", "a: 10.96.0.1\n"),
    ("one\ntwo\n", "a: |\n  one\n  two\n"),
    ("one\ntwo", "a: |-\n  one\n  two\n"),
    (["x", {"b": 1}], "a:\n- x\n- b: 1\n"),
    ({}, "a: {}\n"),
    (True, "a: true\n"),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_style(value: Any, text: str) -> None:
    assert yaml_dumps({"a": value}) == text
    assert yaml_loads(text) == {"a": value}


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_string_comes_back(text: str) -> None:
    assert yaml_loads(yaml_dumps({"a": [text]})) == {"a": [text]}
