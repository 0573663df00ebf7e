"""The bytes of netlink and nf_tables messages, without a kernel."""

from __future__ import annotations

import errno
import struct

import pytest

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink import channel, links, routes
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import objects as o


def test_an_attribute_is_padded_but_its_length_is_not() -> None:
    assert a.attr(3, b"abcde") == b"\x09\0\x03\0abcde\0\0\0"
    assert a.attr(3, b"abcd") == b"\x08\0\x03\0abcd"
    assert a.be32(1, 5) == b"\x08\0\x01\0\0\0\0\x05"


def test_attributes_are_read_back_without_their_flags() -> None:
    packed = a.nest(2, a.text(1, "eth0"), a.u32(4, 7))
    [(kind, inner)] = a.parse_list(packed)
    assert kind == 2
    assert a.as_text(a.parse(inner)[1]) == "eth0"
    assert a.as_u32(a.parse(inner)[4]) == 7


@pytest.mark.parametrize("data", [b"\x03\0\x01\0", b"\xff\0\x01\0abcd", b"\0\0\0\0"])
def test_an_attribute_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="netlink attribute"):
        a.parse(data)


def test_an_error_names_the_call_the_object_and_the_kernels_sentence() -> None:
    request = links.up(7, "eth7")
    echoed = struct.pack("=IHHII", 16, 16, 0, 1, 0)
    data = struct.pack("=i", -errno.ENODEV) + echoed + a.text(1, "no such thing here")
    problem = channel._problem(request, 0x100 | 0x200, data)
    assert str(problem) == "set link up eth7: No such device (ENODEV): no such thing here"
    assert problem is not None and problem.errno == errno.ENODEV


def test_an_error_that_the_request_is_content_with_is_success() -> None:
    data = struct.pack("=i", -errno.EEXIST) + bytes(16)
    assert channel._problem(routes.to("10.0.0.1/32", 3).unless(errno.EEXIST), 0x100, data) is None
    assert channel._problem(routes.to("10.0.0.1/32", 3), 0x100, data) is not None


def test_messages_end_where_a_length_lies() -> None:
    good = struct.pack("=IHHII", 16, 2, 0, 1, 0)
    lie = struct.pack("=IHHII", 4000, 2, 0, 1, 0)
    assert len(list(channel._messages(good + lie))) == 1
    assert list(channel._messages(b"\0" * 16)) == []


def test_a_concatenated_key_pads_each_field() -> None:
    assert o.key_bytes(b"\x0a\0\0\1", b"\x06", b"\0\x50") == b"\x0a\0\0\1\x06\0\0\0\0\x50\0\0"


def test_many_elements_become_several_messages_below_64_kib() -> None:
    numbers = o.Set("t", "s", (o.MARK_TYPE,))
    requests = o.add_elements(numbers, [o.Element(x.host32(i)) for i in range(5000)])
    assert len(requests) > 1
    assert all(len(r.body) < 65_536 for r in requests)


def test_a_plain_range_ends_behind_its_last_key() -> None:
    ranges = o.Set("t", "s", (o.IPV4_TYPE,), interval=True)
    [request] = o.add_elements(ranges, [o.Element(b"\x0a\0\0\0", end=b"\x0a\0\0\xff")])
    listed = a.parse(a.parse(request.body, 4)[3])
    assert listed  # the last element of the list is the end mark
    end = a.parse(listed[1])
    assert a.parse(end[1])[1] == b"\x0a\0\1\0"
    assert a.as_be32(end[3]) == 1


def test_a_verdict_is_a_signed_number_in_network_order() -> None:
    data = a.parse(a.parse(x.goto_data("pick-3"))[2])
    assert data[1] == b"\xff\xff\xff\xfc"
    assert data[2] == b"pick-3\0"
