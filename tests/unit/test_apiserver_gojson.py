"""What is wrong with a text, in encoding/json's words; the table was written from scanner.go's states."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.apiserver.verbs.gojson import syntax_error

END = "unexpected end of JSON input"
WRONG: list[tuple[bytes, str]] = [
    (b"", END),
    (b' {"a":', END),
    (b'{"a', END),
    (b"tru", END),
    (b"-", END),
    (b"{bad", "invalid character 'b' looking for beginning of object key string"),
    (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
    (b'{"a" 1}', "invalid character '1' after object key"),
    (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
    (b"[1 2]", "invalid character '2' after array element"),
    (b"[1,]", "invalid character ']' looking for beginning of value"),
    (b'[{"a":[]}}', "invalid character '}' after array element"),
    (b"{} x", "invalid character 'x' after top-level value"),
    (b"kind: Pod", "invalid character 'k' looking for beginning of value"),
    (b'"a\nb"', r"invalid character '\n' in string literal"),
    (b'"\\q"', "invalid character 'q' in string escape code"),
    (b'"\\u12g4"', r"invalid character 'g' in \u hexadecimal character escape"),
    (b"nul1", "invalid character '1' in literal null (expecting 'l')"),
    (b"-x", "invalid character 'x' in numeric literal"),
    (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
    (b"1ex", "invalid character 'x' in exponent of numeric literal"),
    (b"01", "invalid character '1' after top-level value"),
    (b"\xcf", "invalid character '\u00cf' looking for beginning of value"),
]


@pytest.mark.parametrize(("text", "why"), WRONG)
def test_sentences(text: bytes, why: str) -> None:
    assert syntax_error(text) == why


def test_depth_is_no_matter() -> None:
    assert syntax_error(b"[" * 100_000) == END
    assert syntax_error(b"[" * 100_000 + b"]" * 100_000) == ""


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None)
@given(VALUES, st.sampled_from([None, 2]))
def test_json_is_taken(value: object, indent: int | None) -> None:
    assert syntax_error(json.dumps(value, indent=indent).encode()) == ""


@settings(derandomize=True, deadline=None)
@given(VALUES, st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_what_it_takes_is_json(value: object, at: int, noise: bytes) -> None:
    text = json.dumps(value).encode()
    broken = text[:at] + noise + text[at:]
    if syntax_error(broken) == "":
        json.loads(broken.decode("utf-8", "replace"))
