"""Changes of containers, told to everyone who listens, in order and without loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from weakref import WeakSet

from groundplane.engine.contract import EngineError, EngineEvent

_LIMIT = 10_000  # events that a listener may be behind


class ListenerTooSlow(EngineError):
    """A listener was so far behind that its events were given up; it has to list again."""


class EngineEvents:
    """The source of events; `listen` gives each listener its own queue."""

    def __init__(self) -> None:
        # Weak, because a listener that is let go before its first `anext` never comes to say so.
        self._queues: WeakSet[asyncio.Queue[EngineEvent | None]] = WeakSet()

    def tell(self, event: EngineEvent) -> None:
        for queue in list(self._queues):
            if queue.qsize() >= _LIMIT:
                self._queues.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def listen(self) -> AsyncIterator[EngineEvent]:
        """From now on (not from the first `anext`). Raises ListenerTooSlow where the listener is too far behind."""
        queue: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
        self._queues.add(queue)
        return self._read(queue)

    async def _read(self, queue: asyncio.Queue[EngineEvent | None]) -> AsyncIterator[EngineEvent]:
        try:
            while (event := await queue.get()) is not None:
                yield event
            raise ListenerTooSlow(f"more than {_LIMIT} events of this engine were not read; list the containers again")
        finally:
            self._queues.discard(queue)
