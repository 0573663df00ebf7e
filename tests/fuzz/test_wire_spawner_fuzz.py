"""Spawner messages: every value survives the wire, and any other bytes are the one documented error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.wire import spawner
from groundplane.wire.spawner import SpawnerProtocolError

_VALUES = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "str": st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    "bytes": st.binary(max_size=1000),
    "list[str]": st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=10),
}


def _messages() -> st.SearchStrategy[spawner.Message]:
    return st.one_of(
        *(st.builds(cls, *(_VALUES[type_] for _, type_ in cls._fields)) for _, cls in sorted(spawner._KINDS.items()))
    )


@settings(derandomize=True, max_examples=300)
@given(_messages())
def test_every_message_survives_the_wire(message: spawner.Message) -> None:
    assert spawner.decode(spawner.encode(message)) == message


@settings(derandomize=True, max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_the_documented_error(data: bytes) -> None:
    try:
        message = spawner.decode(data)
    except SpawnerProtocolError:
        return
    assert spawner.encode(message) == data  # the reader is strict: one value, one spelling


@settings(derandomize=True, max_examples=300)
@given(_messages(), st.data())
def test_a_damaged_message_never_crashes_the_reader(message: spawner.Message, data: st.DataObject) -> None:
    raw = bytearray(spawner.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        spawner.decode(cut)
    except SpawnerProtocolError:
        pass


def test_a_message_too_large_to_send_is_refused_by_both_sides() -> None:
    with pytest.raises(SpawnerProtocolError, match="at most"):
        spawner.encode(spawner.Input(b"x" * spawner.MAX_MESSAGE))
    with pytest.raises(SpawnerProtocolError, match="at most"):
        spawner.decode(b"\x0a" + b"x" * spawner.MAX_MESSAGE)


def test_missing_and_surplus_fields_are_programming_errors() -> None:
    with pytest.raises(TypeError, match="needs columns"):
        spawner.Resize(rows=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has only"):
        spawner.Started(1, 2, 3, [], ticket=3)  # type: ignore[call-arg]
