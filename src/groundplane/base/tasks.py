"""Background tasks that cannot be lost: each has an owner, a name, and a logged end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from groundplane.base.clock import Clock
from groundplane.base.log import Log

_log = Log("tasks")
_T = TypeVar("_T")


async def to_its_end(work: Awaitable[_T]) -> _T:
    """Do work that must not stay half done: cancelled meanwhile, this first waits for the work's end."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.exception()  # looked at, so that asyncio does not complain of it
        raise asyncio.CancelledError
    return task.result()


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a thread, to its end.

    A thread cannot be stopped; `asyncio.to_thread` would return at once, and let go of locks that the work relies on.
    """
    return await to_its_end(asyncio.to_thread(work))


async def set_within(event: asyncio.Event, seconds: float | None, clock: Clock) -> None:
    """Return once the event is set, or `seconds` have passed on the clock (None: never)."""
    if seconds is None or event.is_set():
        await event.wait()
        return
    timer = asyncio.ensure_future(clock.sleep(max(seconds, 0.0)))
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((timer, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        waiting.cancel()


class Tasks:
    """The tasks of one owner: start them with `start`, end all of them with `stop`.

    A task that ends with an exception is logged with its traceback; it never ends the process silently.
    asyncio keeps only weak references to tasks, so an owner must hold them: this is that owner.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=f"{self._owner}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task failed", task=task.get_name(), error=repr(error))
            _log._logger.error("traceback", exc_info=error)

    async def stop(self) -> None:
        """Cancel all tasks and wait until each has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)
