"""Device rules as version 1's list of exceptions: the last one that matches wins, or the document is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.base.errors import GroundError
from groundplane.kernel.cgroups.contract import DeviceRule
from groundplane.kernel.cgroups.v1_devices import exceptions

_NUMBERS = (None, 1, 7)


def rules(*words: str) -> list[DeviceRule]:
    """`+c 1:* rw` and `-a *:* rwm` as rules."""
    made = []
    for word in words:
        kind, numbers, access = word[1:].split(" ")
        major, minor = (None if n == "*" else int(n) for n in numbers.split(":"))
        made.append(DeviceRule(allow=word[0] == "+", kind=kind, major=major, minor=minor, access=access))
    return made


def written(*words: str) -> list[str]:
    return [f"{'+' if rule.allow else '-'}{rule}" for rule in exceptions(rules(*words))]


def test_what_is_taken_back_is_gone_with_all_below_it() -> None:
    given = ["-a *:* rwm", "+c 1:7 rw", "+c 1:* m", "+b 1:7 r", "-c 1:* w"]
    assert written(*given) == ["-a *:* rwm", "+c 1:7 r", "+c 1:* m", "+b 1:7 r"]


def test_a_hole_in_a_wildcard_is_refused_in_runcs_words() -> None:
    with pytest.raises(GroundError) as caught:
        written("-a *:* rwm", "+c 1:* rwm", "-c 1:7 w")
    assert "requested rule [c 1:7 w] not supported by devices cgroupv1 (cannot punch hole" in str(caught.value)
    assert written("-a *:* rwm", "+c 1:* r", "-c 1:7 w") == ["-a *:* rwm", "+c 1:* r"], "they have nothing in common"


def test_the_last_one_that_says_all_is_where_it_begins() -> None:
    assert written("+c 1:7 r", "+a *:* rwm", "-c 1:* w", "+c 1:* w", "-b 7:7 m") == ["+a *:* rwm", "-b 7:7 m"]


_rules = st.builds(
    lambda allow, kind, major, minor, access: DeviceRule(
        allow=allow, kind=kind, major=major, minor=minor, access=access
    ),
    st.booleans(),
    st.sampled_from("cb"),
    st.sampled_from(_NUMBERS),
    st.sampled_from(_NUMBERS),
    st.sampled_from(["r", "w", "rw", "rwm", "m"]),
)


def by_order(rules: list[DeviceRule], kind: str, numbers: tuple[int, int], access: str) -> bool:
    """The document's meaning: the last rule that matches."""
    for rule in reversed(rules):
        fits = rule.major in (None, numbers[0]) and rule.minor in (None, numbers[1])
        if rule.kind in ("a", kind) and fits and access in rule.access:
            return rule.allow
    return False


def by_list(rules: list[DeviceRule], kind: str, numbers: tuple[int, int], access: str) -> bool:
    """The kernel's: one default, and exceptions in no order (security/device_cgroup.c)."""
    default, *others = rules
    fits = [r for r in others if r.kind == kind and r.major in (None, numbers[0]) and r.minor in (None, numbers[1])]
    return default.allow != any(access in rule.access for rule in fits)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.booleans(), st.lists(_rules, max_size=5))
def test_the_list_means_what_the_order_meant(allow: bool, some: list[DeviceRule]) -> None:
    given = [DeviceRule(allow=allow, kind="a", major=None, minor=None, access="rwm"), *some]
    try:
        made = exceptions(given)
    except GroundError:
        return
    for kind in "cb":
        for numbers in ((1, 1), (1, 7), (7, 1), (9, 9)):
            for access in "rwm":
                assert by_order(given, kind, numbers, access) == by_list(made, kind, numbers, access)
