"""The route that makes virtual addresses reachable from this host itself.

        local 10.96.0.0/16 dev lo src <node address>      (table local)

A packet from the host is routed before nf_tables can redirect it, so without a route to the Service range it would be
refused, or leave through the default route with a useless source. A `local` route makes the range this host's own: the
packet gets the node's address as source, the output hook sends it to an endpoint, and the kernel routes it again. It
also lets cluster DNS bind to its virtual address without any device: every address of a local route can be bound.
(Considered: a dummy device with the addresses, which many kernels do not have; one address per Service on `lo`, whose
number grows; `ip_nonlocal_bind`, a setting of the whole host.)
"""

from __future__ import annotations

from ipaddress import IPv4Network

from groundplane.base.errors import GroundError
from groundplane.kernel.netlink import addresses, routes
from groundplane.kernel.netlink.channel import Channel

_LOOPBACK = 1  # `lo` is link 1 in every network namespace


class RangeInUse(GroundError):
    """A range of the cluster overlaps with a network that this host already reaches."""


def overlap(channel: Channel, *ranges: IPv4Network) -> str:
    """The first foreign route that overlaps with one of the ranges, as text; "" where there is none."""
    for table in (routes.TABLE_MAIN, routes.TABLE_LOCAL):
        for route in routes.list_all(channel, table=table):
            network = IPv4Network(route.destination, strict=False)
            if route.protocol == routes.PROTOCOL or network.prefixlen == 0:
                continue
            if any(network.overlaps(r) for r in ranges):
                return route.destination
    return ""


class NotOurAddress(GroundError):
    """The node's address is none of this host's."""


def check_address(channel: Channel, node_ip: str) -> None:
    """Raises NotOurAddress."""
    known = [a.address for a in addresses.list_all(channel)]
    if node_ip not in known:
        raise NotOurAddress(f"node_ip {node_ip} is not an address of this host; it has {', '.join(sorted(known))}")


def check(channel: Channel, services: IPv4Network, pods: IPv4Network) -> None:
    """Raises RangeInUse where the host already has a way to a part of one of the ranges."""
    for name, setting, wanted in (("Service", "service_cidr", services), ("pod", "pod_cidr", pods)):
        if found := overlap(channel, wanted):
            raise RangeInUse(
                f"the {name} range {wanted} overlaps with this host's route to {found}; choose another with {setting}"
            )


def add_service_route(channel: Channel, services: IPv4Network, node_ip: str) -> None:
    """Idempotent; `node_ip` becomes the source of the host's own connections to Services."""
    channel.perform(
        routes.to(str(services), _LOOPBACK, source=node_ip, kind=routes.LOCAL, table=routes.TABLE_LOCAL, replace=True)
    )


def remove_service_route(channel: Channel, services: IPv4Network) -> None:
    channel.perform(routes.delete(str(services), link=_LOOPBACK, kind=routes.LOCAL, table=routes.TABLE_LOCAL))
