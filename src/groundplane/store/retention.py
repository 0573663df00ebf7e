"""How much history is kept: a value, and the pure question "up to where may be forgotten now?"."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """A revision is forgotten once it is older than `seconds` or more than `revisions` back, whichever comes first.

    Upstream's API server compacts etcd every five minutes (--etcd-compaction-interval), so clients must stand shorter
    histories than these; longer ones make the cluster readable as of an earlier time. 0 means no limit.
    """

    seconds: float = 3600.0
    revisions: int = 100_000
    interval: float = 60.0  # how often a driver looks
    in_memory: int = 10_000  # so many of the newest changes are answered from memory, older ones from the medium


class Ages:
    """Remembers which revision was the newest when, one mark a look, to answer the question by age."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def due(self, keep: Retention, now: float, newest: int) -> int:
        """The revision up to which may be forgotten at `now` (a monotonic time); 0 for none. Called once a look."""
        self._marks.append((now, newest))
        limit = 0
        if keep.seconds:
            while self._marks and self._marks[0][0] <= now - keep.seconds:
                limit = self._marks.popleft()[1]
        if keep.revisions:
            limit = max(limit, newest - keep.revisions)
        return max(0, limit)
