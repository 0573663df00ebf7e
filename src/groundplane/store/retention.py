"""How much history is kept, by age, number and size; and the pure question "up to where may be forgotten now?"."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """A revision is forgotten once it is older than `seconds`, more than `revisions` or `size` back.

    Upstream's API server compacts etcd every five minutes (--etcd-compaction-interval), so clients must stand shorter
    histories than these; longer ones make the cluster readable as of an earlier time. 0 means no limit.
    """

    seconds: float = 3600.0
    revisions: int = 100_000
    size: int = 512 * 2**20  # bytes of values written since; what one `interval` writes comes on top
    interval: float = 60.0  # how often a driver looks
    in_memory: int = 10_000  # so many of the newest changes are answered from memory, older ones from the medium


class Ages:
    """Remembers which revision was the newest when, one mark a look, to answer the question by age."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def due(self, keep: Retention, now: float, newest: int, written: int = 0) -> int:
        """The revision up to which may be forgotten at `now` (a monotonic time); 0 for none. Called once a look.

        `written` counts the bytes of all values that were ever written.
        """
        if not self._marks or self._marks[-1][1] != newest:  # an idle store needs no second mark
            self._marks.append((now, newest, written))
        limit = 0
        while self._marks and _is_over(keep, now - self._marks[0][0], written - self._marks[0][2]):
            limit = self._marks.popleft()[1]
        if keep.revisions:
            limit = max(limit, newest - keep.revisions)
        return max(0, limit)


def _is_over(keep: Retention, seconds: float, size: int) -> bool:
    return bool((keep.seconds and seconds >= keep.seconds) or (keep.size and size >= keep.size))
