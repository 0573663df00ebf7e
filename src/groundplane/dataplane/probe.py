"""Whether this host can do what pods' links and Services need: tried out, in a network namespace that ends at once."""

from __future__ import annotations

import os
from ipaddress import IPv4Network

from groundplane.base.errors import GroundError
from groundplane.dataplane import routes
from groundplane.dataplane.services.plan import ANY_NODE, Backend, Front, ServicePlan, Shape
from groundplane.dataplane.services.table import ServiceConfig, ServiceTable
from groundplane.kernel.netlink import links, netns
from groundplane.kernel.netlink.channel import Channel

_SERVICES, _PODS = IPv4Network("10.96.0.0/16"), IPv4Network("10.244.0.0/16")


def kernel_problem() -> str:
    """ "" where the kernel has all that is needed, else what it refused and what that would be good for."""
    try:
        netns.inside_new(_try_link)
    except (GroundError, OSError) as error:
        return f"pods cannot have a network: {error}"
    try:
        netns.inside_new(_try_services)
    except (GroundError, OSError) as error:
        return f"Services cannot be shown to the kernel: {error}; it needs nf_tables with NFT_NAT and NFT_FIB_IPV4"
    return ""


def range_problem(service_cidr: str, pod_cidr: str) -> str:
    """ "" where both ranges are free on this host, else the route that is in the way."""
    try:
        with Channel() as channel:
            routes.check(channel, IPv4Network(service_cidr), IPv4Network(pod_cidr))
    except GroundError as error:
        return str(error)
    return ""


def _try_link() -> None:
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Channel() as channel:
            links.loopback_up(channel)
            one, other = links.mac("02:00:00:00:00:01"), links.mac("02:00:00:00:00:02")
            channel.perform(links.veth("probe0", "probe1", fd, address=one, peer_address=other))
            routes.add_service_route(channel, _SERVICES, "127.0.0.1")
    finally:
        os.close(fd)


def _try_services() -> None:
    """One front of every shape: what is refused is named by the error."""
    table = ServiceTable(ServiceConfig("probe", "127.0.0.1", _SERVICES, _PODS, "gprobe", "10.96.0.10"))
    try:
        shapes = {
            Front("10.96.0.20", 6, 80): Shape("cluster", (0,)),
            Front("10.96.0.20", 17, 80): Shape("cluster", (0,), sticky=60),
            Front(ANY_NODE, 6, 30080): Shape("node", (0,)),
            Front(ANY_NODE, 6, 30081): Shape("node-local", (0,), ()),
            Front("10.96.0.21", 6, 80): Shape("reject"),
        }
        slots = {Backend("10.244.0.1", 80): 0}
        backends = {front: slots for front, shape in shapes.items() if shape.slots}
        table.reconcile({"probe": ServicePlan(shapes, backends)})
    finally:
        table.close()
