"""Background tasks that cannot be lost: each has an owner, a name, and a logged end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from groundplane.base.log import Log

_log = Log("tasks")


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
