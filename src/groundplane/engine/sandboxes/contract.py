"""What a pod's network has to be able to do; the node's dataplane gives one, an engine alone has none."""

from __future__ import annotations

from typing import Protocol

from groundplane.engine.contract import EngineError


class NetworkError(EngineError):
    """The pod's network could not be made."""


class PodNetwork(Protocol):
    """Gives an address to a network namespace. Both calls are idempotent for the same sandbox.

    `Sandboxes.create` calls `attach` once the namespace is pinned and before any container of the pod; after a restart
    of the engine it is called again for each sandbox that is left, and must then return the same address.
    `Sandboxes.remove` calls `detach` while the namespace still exists; it is called too where `attach` failed.
    """

    async def attach(self, netns: str, sandbox_id: str) -> str:
        """Make link, address and routes in the namespace pinned at `netns`, `lo` included; its IPv4 address.

        Raises NetworkError.
        """
        ...

    async def detach(self, sandbox_id: str) -> None:
        """Take all of it away, and give the address back. Success where there is nothing."""
        ...


class NoPodNetwork:
    """For an engine without a cluster: a pod network is refused."""

    async def attach(self, netns: str, sandbox_id: str) -> str:
        raise NetworkError(
            "this engine has no pod network; start the node role (ground up), or use network none or host"
        )

    async def detach(self, sandbox_id: str) -> None:
        """There is never anything to take away."""
