"""Links: make, move, change, list, remove (rtnetlink(7), RTM_*LINK)."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink.channel import CREATE, EXCLUSIVE, Channel, NetlinkError, Request

NEW, DELETE, GET = 16, 17, 18  # RTM_NEWLINK …

_IFINFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_UP = 1  # IFF_UP

# linux/if_link.h
_ADDRESS, _NAME, _MTU, _LINKINFO, _NET_NS_FD, _AF_SPEC = 1, 3, 4, 18, 28, 26
_EXT_MASK = 29
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS, Linux ≥4.6
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_PEER = 1
_AF_INET, _AF_INET6 = 2, 10
_INET_CONF, _INET6_ADDR_GEN_MODE = 1, 8
_ADDR_GEN_MODE_NONE = 1

# enum IPV4_DEVCONF_* (linux/ip.h, a stable part of the user API): a link's sysctl without a visit to /proc/sys.
PROXY_ARP, ACCEPT_REDIRECTS, SEND_REDIRECTS, RP_FILTER, ROUTE_LOCALNET = 3, 4, 6, 8, 26


class Link(NamedTuple):
    number: int  # the ifindex
    name: str
    kind: str  # "" for hardware and loopback, else veth, bridge, vxlan …
    up: bool
    address: bytes
    mtu: int


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def veth(name: str, peer: str, peer_netns: int, *, address: bytes, peer_address: bytes, mtu: int = 0) -> Request:
    """Make a pair: `name` here, `peer` in the namespace of the file descriptor `peer_netns`. EEXIST if `name` is."""
    size = (a.u32(_MTU, mtu),) if mtu else ()
    other = a.nest(
        _VETH_PEER,
        _IFINFO.pack(0, 0, 0, 0, 0),
        a.text(_NAME, peer),
        a.attr(_ADDRESS, peer_address),
        a.u32(_NET_NS_FD, peer_netns),
        *size,
    )
    info = a.nest(_LINKINFO, a.text(_INFO_KIND, "veth"), a.nest(_INFO_DATA, other))
    body = _IFINFO.pack(0, 0, 0, 0, 0) + a.text(_NAME, name) + a.attr(_ADDRESS, address) + b"".join(size) + info
    return Request(NEW, CREATE | EXCLUSIVE, body, "make veth pair", f"{name} – {peer}")


def simple(name: str, kind: str) -> Request:
    """Make a link that needs nothing but its kind (bridge, ifb, dummy where the kernel has it)."""
    info = a.nest(_LINKINFO, a.text(_INFO_KIND, kind))
    body = _IFINFO.pack(0, 0, 0, 0, 0) + a.text(_NAME, name) + info
    return Request(NEW, CREATE | EXCLUSIVE, body, f"make {kind}", name)


def up(index: int, name: str = "") -> Request:
    return Request(NEW, 0, _IFINFO.pack(0, 0, index, _UP, _UP), "set link up", name or f"link {index}")


def down(index: int, name: str = "") -> Request:
    return Request(NEW, 0, _IFINFO.pack(0, 0, index, 0, _UP), "set link down", name or f"link {index}")


def ipv4_conf(index: int, values: dict[int, int], name: str = "") -> Request:
    """Set sysctls net.ipv4.conf.<link>.*; keys are the constants above. (do_setlink → inet_set_link_af)"""
    conf = a.nest(_INET_CONF, *(a.u32(key, value) for key, value in values.items()))
    body = _IFINFO.pack(0, 0, index, 0, 0) + a.nest(_AF_SPEC, a.nest(_AF_INET, conf))
    return Request(NEW, 0, body, "set IPv4 settings of link", name or f"link {index}")


def no_ipv6_address(index: int, name: str = "") -> Request:
    """Give the link no link-local address of its own, hence no duplicate detection and no router solicitations.

    Content where the kernel has no IPv6 (EAFNOSUPPORT) or has it switched off for the link (EINVAL).
    """
    mode = a.nest(_AF_SPEC, a.nest(_AF_INET6, a.u8(_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE)))
    body = _IFINFO.pack(0, 0, index, 0, 0) + mode
    request = Request(NEW, 0, body, "set IPv6 address mode of link", name or f"link {index}")
    return request.unless(errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)


def delete(name: str) -> Request:
    """With its peer, addresses, routes and neighbours. Content where there is no such link."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + a.text(_NAME, name)
    return Request(DELETE, 0, body, "delete link", name, (errno.ENODEV,))


def find(channel: Channel, name: str) -> Link | None:
    """The link of this name in the channel's namespace."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + a.u32(_EXT_MASK, _SKIP_STATS) + a.text(_NAME, name)
    try:
        return _link(channel.get(Request(GET, 0, body, "get link", name)))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def list_all(channel: Channel) -> list[Link]:
    body = _IFINFO.pack(0, 0, 0, 0, 0) + a.u32(_EXT_MASK, _SKIP_STATS)
    return [_link(data) for data in channel.dump(Request(GET, 0, body, "list links", "all"))]


def loopback_up(channel: Channel) -> None:
    """`lo` is link 1 in every namespace (net_ns_net_init), and comes up with 127.0.0.1 and ::1 by itself."""
    channel.perform(up(1, "lo"))


def _link(data: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(data)
    found = a.parse(data, _IFINFO.size)
    info = a.parse(found.get(_LINKINFO, b""))
    return Link(
        number=index,
        name=a.as_text(found.get(_NAME, b"")),
        kind=a.as_text(info.get(_INFO_KIND, b"")),
        up=bool(flags & _UP),
        address=found.get(_ADDRESS, b""),
        mtu=a.as_u32(found[_MTU]) if _MTU in found else 0,
    )
