"""What a write takes from a limited range (cluster IPs, node ports) and gives back if it comes to nothing.

with machine.allocations(endpoint, obj, old, dry_run=…) as allocation:
    …write allocation.obj…
    allocation.keep()          # without this, leaving the block gives everything back
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from groundplane.apiserver.cache.stored import Object


class Allocation:
    """An object with what was taken for it; `undo` gives it back."""

    def __init__(
        self, obj: Object, undo: Callable[[], None] | None = None, done: Callable[[], None] | None = None
    ) -> None:
        self.obj = obj
        self._undo = undo
        self._done = done

    def keep(self) -> None:
        """The object was written: what was taken stays taken, what it no longer uses is free."""
        self._undo = None
        if self._done is not None:
            self._done()

    def __enter__(self) -> Allocation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._undo is not None:
            self._undo()
