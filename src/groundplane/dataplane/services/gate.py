"""Waiting until an endpoint has left the data plane, so that its pod is not told to stop while clients are sent to it.

        pod is deleted ──► EndpointSlice says terminating ──► table committed ──► `endpoint_gone` returns ──► SIGTERM

"Left" means: no Service sends *because the endpoint is ready*. Where all endpoints of a Service are terminating,
clients go on being sent to those that still serve (KEP-1669), and waiting for that to end would be waiting for the pod
itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable


class EndpointGate:
    """Counts, per address, the Services that use it as a ready endpoint in what the kernel shows now."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Event] = {}

    def change(self, before: Iterable[str], after: Iterable[str]) -> None:
        """One Service's ready endpoints, before and after a commit."""
        self._used.update(after)
        for address in before:
            self._used[address] -= 1
            if not self._used[address]:
                del self._used[address]
                if (event := self._waiting.pop(address, None)) is not None:
                    event.set()

    async def endpoint_gone(self, address: str, timeout: float) -> bool:
        """Return True once no Service sends to this pod address as a ready endpoint, False after `timeout` seconds.

        At once where none does now.
        """
        if address not in self._used:
            return True
        event = self._waiting.setdefault(address, asyncio.Event())
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return False
        return True
