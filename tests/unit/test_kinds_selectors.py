"""Label and field selectors: grammar, semantics, refusals."""

from __future__ import annotations

import pytest

from groundplane.kinds import selectors

LABELS = {"app": "web", "tier": "front", "n": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app in (a,web)", True),
        ("app notin (a, b)", True),
        ("missing notin (a)", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("app=web,tier=back", False),
        ("n>4", True),
        ("n<5", False),
        ("app=", False),
        ("app in (web),tier", True),
        ("example.com/app", False),
    ],
)
def test_label_selector(text: str, matches: bool) -> None:
    assert selectors.parse_labels(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text", ["app web", "=x", "app in web", "app in (a", "a,,b", "a=b,", "!", "-bad-=x", "a>b", "in"]
)
def test_label_selector_refused(text: str) -> None:
    with pytest.raises(selectors.SelectorError):
        selectors.parse_labels(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a!=!b", "unable to parse requirement: found '!', expected: identifier"),
        ("!in", "unable to parse requirement: found 'in', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b,,c", "found ',', expected: identifier after ','"),
        ("a,notin", "found 'notin', expected: identifier after ','"),
    ],
)
def test_what_is_wrong_with_a_label_selector(text: str, words: str) -> None:
    with pytest.raises(selectors.SelectorError) as raised:
        selectors.parse_labels(text)
    assert str(raised.value) == words


def test_printed_selector_parses_to_itself() -> None:
    text = "!gone,a=b,c!=d,e in (f,g),h,n>3"
    assert selectors.parse_labels(str(selectors.parse_labels(text))) == selectors.parse_labels(text)


def test_object_selector() -> None:
    selector = selectors.from_object(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}
    )
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "web"})
    assert not selectors.from_object(None).matches({})
    assert selectors.from_object({}).matches({})


def test_field_selector() -> None:
    selector = selectors.parse_fields(r"metadata.name=a\,b,status.phase!=Running")
    assert selector.matches({"metadata.name": "a,b", "status.phase": "Pending"})
    assert not selector.matches({"metadata.name": "a,b", "status.phase": "Running"})
    assert selector.required("metadata.name") == "a,b"
    with pytest.raises(selectors.SelectorError):
        selectors.parse_fields("nonsense")
