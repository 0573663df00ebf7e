"""Pods that wait for a node.

    add ──► active ──pop──► (cycle) ──fits──► binding
              ▲  ▲             │
              │  │             └─ no node fits ─► waiting ── something that may help happened, or 5 minutes ──┐
              │  └── 1 s … 10 s after its last try, or at once when active is empty ◄── backing off ◄─────────┘
              └───── after its back-off ◄── failed (binding refused, server gone)

pkg/scheduler/backend/queue. Since 1.33 upstream takes pods out of the back-off early when nothing else is to do
(SchedulerPopFromBackoffQ), but not those that failed by an error; so do we.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from groundplane.base.clock import Clock
from groundplane.base.tasks import Tasks
from groundplane.client.contract import Object
from groundplane.scheduler.nodeinfo import PodInfo

FIRST_BACKOFF = 1.0
LAST_BACKOFF = 10.0
LONGEST_WAIT = 300.0  # podMaxInUnschedulablePodsDuration: a hint that was wrong costs five minutes, not for ever


@dataclass(slots=True, eq=False)
class Waiting:
    """A pod in the queue, and its history."""

    info: PodInfo
    since: float
    order: int
    attempts: int = 0
    tried_at: float = 0.0
    plugins: frozenset[str] = frozenset()
    place: str = ""  # active, backoff, error, waiting, gated; "" while a cycle or a binding has it
    ready_at: float = 0.0


Entry = tuple[float, float, int, Waiting]
"""In heaps. An entry whose pod has moved on is stale and is dropped when it comes up."""


class SchedulingQueue:
    """All pods without a node that this scheduler is responsible for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pods: dict[str, Waiting] = {}  # by uid
        self._active: list[Entry] = []
        self._backoff: list[Entry] = []
        self._errors: list[Entry] = []
        self._waiting: dict[str, Waiting] = {}
        self._order = itertools.count()
        self._getter: asyncio.Future[None] | None = None
        self._tasks = Tasks("scheduler/queue")
        self._timer: asyncio.Task[None] | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._pods)

    def add(self, info: PodInfo) -> None:
        """A new pod without a node."""
        if info.uid in self._pods:
            self.update(info)
            return
        pod = Waiting(info, self._clock.monotonic(), next(self._order))
        self._pods[info.uid] = pod
        self._admit(pod)

    def update(self, info: PodInfo) -> None:
        """The pod changed: gates may have gone; what made it unschedulable may have, too."""
        if (pod := self._pods.get(info.uid)) is None:
            self.add(info)
            return
        old, pod.info = pod.info, info
        if pod.place == "gated":
            self._admit(pod)
        elif pod.place == "waiting" and _matters(old.pod, info.pod):
            self._wake(pod)
        elif pod.place == "active" and old.priority != info.priority:
            self._push_active(pod)

    def remove(self, uid: str) -> None:
        """The pod is gone, or has its node."""
        if (pod := self._pods.pop(uid, None)) is not None:
            pod.place = ""
            self._waiting.pop(uid, None)

    async def pop(self) -> Waiting:
        """The pod to schedule next; waits until there is one. One caller at a time."""
        while True:
            if (pod := self._take()) is not None:
                pod.place = ""
                pod.attempts += 1
                pod.tried_at = self._clock.monotonic()
                return pod
            self._getter = asyncio.get_running_loop().create_future()
            await self._getter

    def unschedulable(self, pod: Waiting, plugins: frozenset[str]) -> None:
        """No node fits: wait for something that one of `plugins` says may help."""
        if self._pods.get(pod.info.uid) is not pod:
            return
        pod.plugins = plugins
        pod.place = "waiting"
        pod.ready_at = self._clock.monotonic() + LONGEST_WAIT
        self._waiting[pod.info.uid] = pod
        self._arm()

    def failed(self, pod: Waiting) -> None:
        """An error that is not the cluster's state: again after the back-off."""
        if self._pods.get(pod.info.uid) is not pod:
            return
        pod.place = "error"
        pod.ready_at = self._clock.monotonic() + self._delay(pod)
        heapq.heappush(self._errors, (pod.ready_at, 0.0, pod.order, pod))
        self._arm()

    def happened(self, helps: Callable[[Waiting], bool]) -> None:
        """Something changed: wake every waiting pod that it may help."""
        for pod in [pod for pod in self._waiting.values() if helps(pod)]:
            self._wake(pod)

    async def stop(self) -> None:
        await self._tasks.stop()

    def _admit(self, pod: Waiting) -> None:
        """PreEnqueue: a gated pod is not even tried (KEP-3521)."""
        if (pod.info.pod.get("spec") or {}).get("schedulingGates"):
            pod.place = "gated"
        else:
            self._push_active(pod)

    def _push_active(self, pod: Waiting) -> None:
        pod.place = "active"
        heapq.heappush(self._active, (-pod.info.priority, pod.since, pod.order, pod))
        self._ring()

    def _wake(self, pod: Waiting) -> None:
        self._waiting.pop(pod.info.uid, None)
        ready_at = pod.tried_at + self._delay(pod)
        if ready_at <= self._clock.monotonic():
            self._push_active(pod)
            return
        pod.place = "backoff"
        pod.ready_at = ready_at
        heapq.heappush(self._backoff, (ready_at, -pod.info.priority, pod.order, pod))
        self._arm()
        self._ring()

    def _delay(self, pod: Waiting) -> float:
        return min(FIRST_BACKOFF * 2.0 ** max(pod.attempts - 1, 0), LAST_BACKOFF)

    def _take(self) -> Waiting | None:
        if (pod := _pop(self._active, "active", lambda p, entry: entry[0] == -p.info.priority)) is not None:
            return pod
        return _pop(self._backoff, "backoff", lambda p, entry: entry[0] == p.ready_at)

    def _ring(self) -> None:
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    def _arm(self) -> None:
        """One timer, at the next moment when anything is due."""
        due = self._next_due()
        if due is None:
            return
        if self._timer is not None and not self._timer.done():
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._tasks.start("timer", self._fire())

    def _next_due(self) -> float | None:
        candidates = [heap[0][0] for heap in (self._backoff, self._errors) if heap]
        if self._waiting:
            candidates.append(next(iter(self._waiting.values())).ready_at)  # the first in is the first due
        return min(candidates, default=None)

    async def _fire(self) -> None:
        while (due := self._next_due()) is not None:
            self._timer_at = due
            now = self._clock.monotonic()
            if due > now:
                await self._clock.sleep(due - now)
                continue
            for heap, place in ((self._backoff, "backoff"), (self._errors, "error")):
                while heap and heap[0][0] <= now:
                    _, _, _, pod = heapq.heappop(heap)
                    if pod.place == place and pod.ready_at <= now:
                        self._push_active(pod)
            for pod in [pod for pod in self._waiting.values() if pod.ready_at <= now]:
                self._waiting.pop(pod.info.uid, None)
                self._push_active(pod)


def _pop(
    heap: list[Entry],
    place: str,
    current: Callable[[Waiting, Entry], bool],
) -> Waiting | None:
    """The first entry that is still true; stale ones are dropped."""
    while heap:
        entry = heapq.heappop(heap)
        if entry[3].place == place and current(entry[3], entry):
            return entry[3]
    return None


def _matters(old: Object, new: Object) -> bool:
    """Whether a pod's own update can make it schedulable: its spec or labels changed, not its status."""
    return old.get("spec") != new.get("spec") or old["metadata"].get("labels") != new["metadata"].get("labels")
