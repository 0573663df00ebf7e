"""A link that moves to another network namespace and keeps its addresses (runtime-spec 1.3, netDevices).

The kernel moves a link without them, and down; so they are read before, and given back before it is set up again.
"""

from __future__ import annotations

import errno
import struct

from groundplane.kernel.errors import KernelError
from groundplane.kernel.netlink import attributes as a
from groundplane.kernel.netlink import links
from groundplane.kernel.netlink.channel import CREATE, Channel, Request
from groundplane.kernel.netlink.netns import channel_in

_NEW_ADDRESS, _GET_ADDRESS = 20, 22  # RTM_NEWADDR, RTM_GETADDR
_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_IFINFO = struct.Struct("=BxHiII")
_NAME, _NET_NS_FD = 3, 28  # linux/if_link.h
_KEPT = (1, 2, 4)  # IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST
_PERMANENT = 0x80  # IFA_F_PERMANENT: neither learnt from a router nor going to end
_GLOBAL = 0  # RT_SCOPE_UNIVERSE


def move(name: str, path: str, new_name: str) -> None:
    """Move the link `name` of our namespace into the one at `path`, as `new_name`, with its global addresses, and up.

    Raises KernelError: ENODEV where there is no such link, EEXIST where the name is taken over there.
    """
    with Channel() as here, channel_in(path) as there:
        link = links.find(here, name)
        if link is None:
            raise KernelError("move link", errno.ENODEV, name)
        if links.find(there, new_name) is not None:  # before: the kernel moves first, and then finds no name for it
            raise KernelError("move link", errno.EEXIST, new_name)
        addresses = _addresses(here, link.number)
        here.perform(links.down(link.number, name))
        with open(path, "rb") as namespace:
            body = _IFINFO.pack(0, 0, link.number, 0, 0)
            body += a.u32(_NET_NS_FD, namespace.fileno()) + a.text(_NAME, new_name)
            here.perform(Request(links.NEW, 0, body, "move link to another namespace", name))
        moved = links.find(there, new_name)
        if moved is None:
            raise KernelError("move link", errno.ENODEV, new_name)
        for family, prefix, members in addresses:
            body = _IFADDR.pack(family, prefix, 0, _GLOBAL, moved.number) + members
            there.perform(Request(_NEW_ADDRESS, CREATE, body, "add address", f"link {new_name}"))
        there.perform(links.up(moved.number, new_name))


def _addresses(channel: Channel, index: int) -> list[tuple[int, int, bytes]]:
    """(family, prefix length, attributes) of each permanent global address."""
    found = []
    request = Request(_GET_ADDRESS, 0, _IFADDR.pack(0, 0, 0, 0, 0), "list addresses", f"link {index}")
    for data in channel.dump(request):
        family, prefix, flags, scope, link = _IFADDR.unpack_from(data)
        if link == index and scope == _GLOBAL and flags & _PERMANENT:
            members = a.parse(data, _IFADDR.size)
            found.append((family, prefix, b"".join([a.attr(kind, members[kind]) for kind in _KEPT if kind in members])))
    return found
