"""The one thread that writes: it takes all that waits, commits it as one transaction, and reports to the loop.

    loop                                            thread
    ----                                            ------
    put(batch, epoch) ─────────────────────────────► take everything that waits
                                                    INSERT …; COMMIT          (fsync: 0.1 ms … 10 ms)
    committed(batch)  ◄──── call_soon_threadsafe ───┤ done
    failed(epoch, error) ◄──────────────────────────┘ the medium refused: every later batch of this epoch is void,
                                                      because its revisions follow on ones that never happened

While one batch is being committed the next gathers, so that the disk decides the size of a batch and never idles.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from groundplane.base.log import Log
from groundplane.store.contract import Event, StoreUnavailable
from groundplane.store.drivers.sqlite import log

_BATCH = 1024  # rows of one transaction, so that the first of a flood does not wait for the last
_log = Log("store.sqlite")


class Write(Protocol):
    """A queued write, as far as the thread looks at it."""

    event: Event
    lease: int


W = TypeVar("W", bound=Write)


class Writer(Generic[W]):
    """Owns the writing connection; `committed` and `failed` are called on the loop."""

    def __init__(
        self, path: str, committed: Callable[[Sequence[W]], None], failed: Callable[[int, StoreUnavailable], None]
    ) -> None:
        self._path = path
        self._committed = committed
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Item[W]] = SimpleQueue()
        self._held: _Item[W] = None
        self._void = -1  # batches of this epoch and older are not written
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, epoch: int, writes: list[W]) -> None:
        """Queue writes; they are committed in this order."""
        self._queue.put((epoch, writes))

    async def call(self, work: Callable[[sqlite3.Connection], Any], doing: str = "cannot write") -> Any:
        """Run `work` on the writing connection between two batches. Raises StoreUnavailable, which says `doing`."""
        job = _Job(work, self._loop.create_future(), doing)
        self._queue.put(job)
        return await job.future

    async def stop(self) -> None:
        """Commit what is queued, report it, close the connection. Nothing is put or called afterwards."""
        self._queue.put(None)
        # A thread's end has no future; it has by now at most one commit to do.
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        db: sqlite3.Connection | None = None
        while (item := self._take()) is not None:
            batch = self._gather(item) if isinstance(item, tuple) else []
            try:
                with log.medium(item.doing if isinstance(item, _Job) else "cannot write", self._path):
                    db = db or log.connect(self._path, write=True)
                    if isinstance(item, _Job):
                        self._tell(item.resolve, item.work(db))
                    elif item[0] > self._void:
                        log.insert(db, [(w.event, w.lease) for w in batch])
                        self._tell(self._committed, batch)
            except StoreUnavailable as error:
                self._refuse(item, error)
            except Exception as error:  # noqa: BLE001 because without this thread every writer would wait for ever
                _log.exception("the store's writer met an error of ours", path=self._path)
                self._refuse(item, StoreUnavailable(f"store: cannot write {self._path}: {error}"))
        self._refuse_rest()
        if db is not None:
            # Closing checkpoints the log into the file; where that fails the next opening does it.
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _take(self) -> _Item[W]:
        if self._held is not None:
            item, self._held = self._held, None
            return item
        return self._queue.get()

    def _gather(self, first: tuple[int, list[W]]) -> list[W]:
        """`first` and the writes that wait behind it; an item of another sort is held for the next turn."""
        epoch, batch = first
        while len(batch) < _BATCH:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:
                self._queue.put(None)  # the end: nothing is put behind it
                break
            if isinstance(item, _Job) or item[0] != epoch:
                self._held = item
                break
            batch.extend(item[1])
        return batch

    def _refuse_rest(self) -> None:
        """What was asked after `stop` would wait for ever."""
        with contextlib.suppress(Empty):
            while True:
                if (item := self._queue.get_nowait()) is not None:
                    self._refuse(item, StoreUnavailable("store: closed"))

    def _refuse(self, item: tuple[int, list[W]] | _Job, error: StoreUnavailable) -> None:
        if isinstance(item, _Job):
            self._tell(item.reject, error)
        elif item[0] > self._void:
            self._void = item[0]
            self._tell(self._failed, item[0], error)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            _log.warning("the event loop ended before the store was closed", path=self._path)


class _Job:
    def __init__(self, work: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any], doing: str) -> None:
        self.work = work
        self.future = future
        self.doing = doing

    def resolve(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def reject(self, error: StoreUnavailable) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Item = tuple[int, list[W]] | _Job | None
