"""Which range is free. Pure. pkg/controller/nodeipam/ipam/cidrset."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Ranges:
    """The node ranges of one cluster range, some of them taken."""

    def __init__(self, cluster: str, mask: int) -> None:
        self._cluster = ipaddress.ip_network(cluster)
        if mask < self._cluster.prefixlen or mask > self._cluster.max_prefixlen:
            raise ValueError(f"node ranges of /{mask} do not fit into {cluster}")
        self._mask = mask
        self._count = 1 << (mask - self._cluster.prefixlen)
        self._taken: set[int] = set()
        self._next = 0

    def take(self, cidr: str) -> None:
        """Mark all ranges that `cidr` overlaps as taken; what lies outside concerns nobody."""
        self._taken.update(self._indexes(cidr))

    def free(self, cidr: str) -> None:
        self._taken.difference_update(self._indexes(cidr))

    def allocate(self) -> str | None:
        """The next free range after the one given last, so that a range rests before it is used again."""
        if len(self._taken) == self._count:
            return None
        index = self._next
        while index in self._taken:
            index = (index + 1) % self._count
        self._taken.add(index)
        self._next = (index + 1) % self._count
        return str(self._network(index))

    def _network(self, index: int) -> Network:
        base = int(self._cluster.network_address) + (index << (self._cluster.max_prefixlen - self._mask))
        return ipaddress.ip_network((base, self._mask))

    def _indexes(self, cidr: str) -> Iterable[int]:
        return self._overlapping(ipaddress.ip_network(cidr, strict=False))

    def _overlapping(self, network: Network) -> Iterator[int]:
        if network.version != self._cluster.version or not network.overlaps(self._cluster):
            return
        shift = self._cluster.max_prefixlen - self._mask
        first = max(int(network.network_address), int(self._cluster.network_address))
        last = min(int(network.broadcast_address), int(self._cluster.broadcast_address))
        start = int(self._cluster.network_address)
        yield from range((first - start) >> shift, ((last - start) >> shift) + 1)
