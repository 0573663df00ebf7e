"""Where this node is: its name and its address."""

from __future__ import annotations

import os
import re
import socket

from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings


class PlaceError(GroundError):
    """This host cannot be a node as it is; the sentence says what to set."""


def node_name(settings: Settings) -> str:
    """The host's name in lower case, as kubelet takes it. Raises PlaceError where that is no DNS name."""
    name = (settings.node_name or socket.gethostname()).strip().lower()
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) or len(name) > 253:
        raise PlaceError(f"host name {name!r} cannot name a node (RFC 1123); set GROUND_NODE_NAME")
    return name


def node_address(settings: Settings) -> str:
    """The IPv4 address from which this host would leave by its default route. Raises PlaceError where there is none.

    connect(2) on a datagram socket sends nothing: it only asks the kernel for the route and its source address.
    """
    if settings.node_ip:
        return settings.node_ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address that is nobody's
            address = str(probe.getsockname()[0])
        except OSError as error:
            raise PlaceError(
                f"this host has no route to take its address from ({os.strerror(error.errno or 0)}); set GROUND_NODE_IP"
            ) from error
    if address.startswith("127."):
        raise PlaceError("this host's only address is loopback, which pods cannot reach; set GROUND_NODE_IP")
    return address
