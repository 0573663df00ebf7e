"""DNS messages: whatever the bytes, decode gives a message or DnsFormatError; what we write, we read back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.wire import dns

labels = st.binary(min_size=1, max_size=20)
names = st.lists(labels, max_size=6).map(tuple)
numbers = st.integers(0, 65535)
questions = st.builds(dns.Question, names, numbers, numbers)
plain = st.builds(
    dns.Record, names, st.sampled_from([1, 16, 28, 99]), st.integers(0, 2**32 - 1), st.binary(max_size=40), numbers
)
pointing = st.builds(
    lambda owner, ttl, target, kind: dns.Record(owner, kind, ttl, dns.pack_name(target)),
    names,
    numbers,
    names,
    st.sampled_from([dns.CNAME, dns.PTR, dns.NS]),
)
records = st.lists(plain | pointing, max_size=4).map(tuple)
messages = st.builds(
    dns.Message,
    id=numbers,
    questions=st.lists(questions, max_size=2).map(tuple),
    answers=records,
    authority=records,
    additional=records,
    response=st.booleans(),
    opcode=st.integers(0, 15),
    authoritative=st.booleans(),
    recursion_desired=st.booleans(),
    code=st.integers(0, 15),
    edns=st.none() | st.builds(dns.Edns, numbers, st.integers(0, 255), st.booleans()),
)


@given(messages)
@settings(derandomize=True, max_examples=300)
def test_what_is_written_is_read_back(message: dns.Message) -> None:
    assert dns.decode(dns.encode(message)) == message


@given(st.binary(max_size=300))
@settings(derandomize=True, max_examples=500)
def test_any_bytes_give_a_message_or_a_format_error(data: bytes) -> None:
    try:
        dns.decode(data)
    except dns.DnsFormatError:
        return


@given(messages, st.data())
@settings(derandomize=True, max_examples=500)
def test_a_damaged_message_gives_a_message_or_a_format_error(message: dns.Message, data: st.DataObject) -> None:
    packed = bytearray(dns.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        dns.decode(bytes(packed[: data.draw(st.integers(0, len(packed)))]))
    except dns.DnsFormatError:
        return


@given(messages, st.integers(512, 1232))
@settings(derandomize=True)
def test_an_answer_that_is_too_long_is_truncated_and_still_a_message(message: dns.Message, limit: int) -> None:
    long = dns.reply(
        dns.Message(message.id, message.questions),
        answers=tuple(dns.Record((b"x",), 1, 5, b"1234") for _ in range(200)),
    )
    short = dns.decode(dns.encode(long, limit))
    assert short.truncated and short.answers == () and short.questions == message.questions


@pytest.mark.parametrize(
    "tail",
    [
        b"\xc0\x0c",  # a pointer to itself
        b"\xc0\x0e\xc0\x0c",  # forwards
        b"\x3f" + b"a" * 10,  # a label beyond the end
        b"\x80a",  # a label of a reserved kind
        (b"\x3f" + b"a" * 63) * 4 + b"\0",  # 256 bytes
    ],
)
def test_hostile_names_are_refused(tail: bytes) -> None:
    with pytest.raises(dns.DnsFormatError):
        dns.decode(struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + tail + b"\0\1\0\1")


def test_a_staircase_of_pointers_costs_no_more_than_a_name() -> None:
    """Resource data that are a thousand pointers, each to the one before, and a name that points at the last."""
    data_at = 12 + 11
    stairs = b"\0" + b"".join(
        struct.pack(">H", 0xC000 | (data_at if i == 0 else data_at + 1 + 2 * (i - 1))) for i in range(1000)
    )
    first = b"\0" + struct.pack(">HHIH", 99, 1, 0, len(stairs)) + stairs
    second = struct.pack(">H", 0xC000 | data_at + 1 + 2 * 999) + struct.pack(">HHIH", 99, 1, 0, 0)
    with pytest.raises(dns.DnsFormatError, match="one too many"):
        dns.decode(struct.pack(">HHHHHH", 1, 0, 0, 2, 0, 0) + first + second)
