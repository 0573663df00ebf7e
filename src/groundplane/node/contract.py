"""What the node agent is given: its place in the cluster and on the host, and the neighbours that it may ask.

The daemon makes one `Place` and plugs the neighbours in; in tests the same seams take verified fakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Who and where this node is. `root` is the node's state directory, `logs` where container logs go."""

    name: str
    address: str
    root: str
    logs: str
    dns_address: str
    domain: str
    kubelet_port: int


class PodNetworkConfig(Protocol):
    """Told once the cluster has given this node its range of pod addresses."""

    async def configure(self, pod_cidr: str) -> None: ...


class Drain(Protocol):
    """Asked before a pod is told to stop: wait, within bounds, until no Service sends it new connections."""

    async def endpoint_gone(self, pod_ip: str, timeout: float) -> bool: ...
