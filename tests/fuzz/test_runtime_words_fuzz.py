"""The runtime's command line from anywhere: words, values and limits are taken, or refused in a sentence."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.cgroup_tree import FakeTree

from groundplane.base.errors import GroundError, UsageError
from groundplane.kernel.cgroups.v1 import V1, Hierarchy
from groundplane.kernel.cgroups.v2 import V2
from groundplane.oci.runtime_resources import read_resources
from groundplane.runtime import arguments, commands
from groundplane.runtime.resources import limits_of
from groundplane.runtime.verbs.events import duration
from groundplane.runtime.verbs.exec import sub_groups
from groundplane.runtime.verbs.kill import signal_number
from groundplane.runtime.verbs.ps import select
from groundplane.runtime.verbs.update import merged, size_of

_WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["-", "--", "-h", "--help", "--format=json", "--pids-limit", "--pids-limit=²", "-r", "c", "--x=y"]),
)
_NUMBERS = st.one_of(st.none(), st.integers(-2, 3), st.integers(-(2**64), 2**65), st.just("x"), st.booleans())
_TEXTS = st.one_of(st.none(), st.text(max_size=4), st.integers())
_RESOURCES = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.one_of(
            _NUMBERS,
            st.fixed_dictionaries({}, optional=dict.fromkeys(("limit", "swap", "reservation", "swappiness"), _NUMBERS)),
        ),
        "cpu": st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(("shares", "quota", "period", "burst", "idle", "realtimeRuntime"), _NUMBERS),
                "cpus": _TEXTS,
            },
        ),
        "pids": st.fixed_dictionaries({}, optional={"limit": _NUMBERS}),
        "blockIO": st.fixed_dictionaries(
            {},
            optional={
                "weight": _NUMBERS,
                "weightDevice": st.lists(st.fixed_dictionaries({"major": _NUMBERS, "weight": _NUMBERS}), max_size=2),
                "throttleReadBpsDevice": st.lists(st.fixed_dictionaries({"rate": _NUMBERS}), max_size=2),
            },
        ),
        "hugepageLimits": st.lists(st.fixed_dictionaries({"pageSize": _TEXTS, "limit": _NUMBERS}), max_size=2),
        "rdma": st.dictionaries(st.text(max_size=3), st.fixed_dictionaries({"hcaHandles": _NUMBERS}), max_size=2),
        "unified": st.one_of(_NUMBERS, st.dictionaries(st.text(max_size=6), _TEXTS, max_size=2)),
        "devices": st.one_of(_NUMBERS, st.lists(_NUMBERS, max_size=2)),
    },
)


@settings(max_examples=300, derandomize=True)
@given(st.sampled_from(sorted(commands.VERBS)), st.lists(_WORDS, max_size=5))
def test_words_are_taken_or_refused(name: str, words: list[str]) -> None:
    verb = commands.VERBS[name]
    try:
        given = arguments.parse(words, verb.flags, mixed=verb.mixed)
    except UsageError:
        return
    for flag in verb.flags.kinds:
        given.number(flag)
        given.switch(flag)


@settings(max_examples=300, derandomize=True)
@given(st.one_of(st.text(max_size=8), st.from_regex(r"[-+]?[0-9.²]{0,30}[kmgKMGTPpib snuµh]{0,3}", fullmatch=True)))
def test_values_are_taken_or_refused(text: str) -> None:
    size = size_of(text)
    assert size is None or -1 <= size < 2**63
    for read in (duration, signal_number, lambda text: sub_groups([text]), lambda text: select(text, [7])):
        try:
            read(text)
        except GroundError:
            pass


def _drivers() -> list[V1 | V2]:
    tree = FakeTree()
    names = ("cpu", "memory", "pids", "blkio", "hugetlb", "rdma")
    return [
        V1([Hierarchy((name,), tree.mount(f"/v1/{name}", 1, name)) for name in names], tree),
        V2(tree.mount("/v2", 2, "cpu", "memory", "pids", "io", "hugetlb", "rdma"), tree),
    ]


@settings(max_examples=300, derandomize=True)
@given(_RESOURCES, _RESOURCES)
def test_limits_are_granted_or_refused(before: dict[str, Any], wanted: dict[str, Any]) -> None:
    try:
        read_resources(before)
        read_resources(wanted)
    except GroundError:
        return
    for document in (before, merged(before, wanted)):
        for driver in _drivers():
            driver.create("a")
            try:
                limits = limits_of(read_resources(document))
                limits.devices = None
                assert all(isinstance(sentence, str) for sentence in driver.set("a", limits))
            except GroundError:
                pass
