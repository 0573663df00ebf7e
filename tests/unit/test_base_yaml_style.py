"""YAML as kubectl prints it: quotes where another reader would see another type, blocks for several lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.base.jsonyaml import DecodeError, dumps, yaml_dumps, yaml_loads

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


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_a_text_that_is_nested_without_end(opening: str) -> None:
    """libyaml's composer is recursive C: read, such a text would end the process."""
    with pytest.raises(DecodeError, match="exceeded max depth of 10000"):
        yaml_loads(opening * 100_000)


def test_a_few_lines_that_stand_for_billions() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
    with pytest.raises(DecodeError, match="excessive aliasing"):
        yaml_loads(bomb)
    with pytest.raises(DecodeError, match="contains itself"):
        yaml_loads("a: &a [*a]")


def test_ordinary_aliases() -> None:
    assert yaml_loads("a: &a {k: [1]}\nb: *a\nc: *a\n") == {key: {"k": [1]} for key in "abc"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 18446744073709551615),
        ("123456789012345678901234567890", 123456789012345678901234567890.0),
        ("-99999999999999999999", -99999999999999999999.0),
        ("9" * 5000, "9" * 5000),
        ("!!binary aGk=", "hi"),
        ("!!set {x}", {"x": None}),
    ],
)
def test_what_json_cannot_say(text: str, value: Any) -> None:
    """As go-yaml has it; each of these ended in an internal error."""
    found = yaml_loads(f"a: {text}")
    assert found == {"a": value}
    dumps(found)
