"""Quantities: upstream's canonical forms and rounding (k8s.io/apimachinery/pkg/api/resource)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.kinds import quantities


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("0Mi", "0"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("100Ki", "100Ki"),
        ("1Ki", "1Ki"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("1000e3", "1e6"),
        ("1E", "1E"),
        ("1000k", "1M"),
        ("100u", "100u"),
        ("0.0000000001", "1n"),
        ("-1.5", "-1500m"),
        ("+2", "2"),
        ("12345", "12345"),
        ("1.1Mi", "1153433600m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1Ei", "1Ei"),
        ("2048Ei", "2048Ei"),
        ("0.1e1", "1"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    assert quantities.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1 Gi", "1GiB", "Gi", "--1", "1ee3", "١"])
def test_refused(text: str) -> None:
    with pytest.raises(quantities.QuantityError):
        quantities.parse(text)


def test_units() -> None:
    assert quantities.parse("100m").milli == 100
    assert quantities.parse("1n").milli == 1  # rounded up
    assert quantities.parse("1500m").value == 2
    assert quantities.parse(2).milli == 2000
    assert quantities.parse(0.25).milli == 250


@settings(derandomize=True)
@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "m", "k", "Mi", "Gi", "n", "e2"]))
def test_canonical_form_is_stable_and_exact(number: int, suffix: str) -> None:
    first = quantities.parse(f"{number}{suffix}")
    again = quantities.parse(str(first))
    assert again.nano == first.nano
    assert str(again) == str(first)


@pytest.mark.parametrize("text", ["9" * 5000, "0." + "1" * 5000, "1" * 4300 + "e999"])
def test_endless_digits_are_refused(text: str) -> None:
    with pytest.raises(quantities.QuantityError):
        quantities.parse(text)
