"""Our short way to JSON agrees with the standard module."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.base.quickjson import decode, encode, quoted, quoted_ascii

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(VALUES)
def test_values_survive(value: object) -> None:
    assert json.loads(encode(value)) == decode(encode(value)) == value
    assert decode(b" \n" + json.dumps(value, indent=2).encode() + b"\n ") == value


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=30) | st.text('[]{}",:0123456789.eE-+truefalsn \\', max_size=20).map(str.encode))
def test_any_bytes_are_as_the_module_says(data: bytes) -> None:
    try:
        wanted = json.loads(data.decode(), parse_constant=_refuse)
    except ValueError:
        with pytest.raises(ValueError):
            decode(data)
        return
    assert decode(data) == wanted


def _refuse(name: str) -> float:
    raise ValueError(name)


def test_what_json_does_not_have() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})
    with pytest.raises(ValueError):
        encode(math.inf)
    for text in ("NaN", "-Infinity", ""):
        with pytest.raises(ValueError):
            decode(text)
    assert quoted_ascii('a"é\n') == '"a\\"\\u00e9\\n"'
    assert quoted('a"ü\n') == '"a\\"ü\\n"'
