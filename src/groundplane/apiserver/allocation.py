"""What a write takes from a limited range (cluster IPs, node ports) and gives back if it comes to nothing.

async with machine.allocations(endpoint, obj, old, dry_run=…) as allocation:
    …write allocation.obj…
    allocation.keep()          # without this, leaving the block gives everything back
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from groundplane.apiserver.cache.stored import Object

Settle = Callable[[], Awaitable[None]]


class Allocation:
    """An object with what was taken for it; leaving the block calls `undo`, or `done` where it was kept."""

    def __init__(self, obj: Object, undo: Settle | None = None, done: Settle | None = None) -> None:
        self.obj = obj
        self._undo = undo
        self._done = done
        self._kept = False

    def keep(self) -> None:
        """The object was written: what was taken stays taken, what it no longer uses is free."""
        self._kept = True

    async def settle(self) -> None:
        if (last := self._done if self._kept else self._undo) is not None:
            await last()
