"""A sorted set of keys: chunks of at most a few hundred, so that an insertion moves hundreds of pointers, not all.

A plain list with `bisect.insort` moves half of itself at each insertion (100,000 keys: 40 µs); a tree in Python costs
more than either. Strings compare by code point, which is the order of their UTF-8 bytes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

_CHUNK = 512


class SortedKeys:
    """Keys in order; add and remove in O(√n) or so, ranges in the order of their length."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """From keys in any order, each once."""
        ordered = sorted(keys)
        self._chunks = [ordered[i : i + _CHUNK] for i in range(0, len(ordered), _CHUNK)]
        self._lasts = [chunk[-1] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Put in a key that is not there."""
        if not self._chunks:
            self._chunks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) > 2 * _CHUNK:
            self._chunks[at : at + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]
            self._lasts[at : at + 1] = [chunk[_CHUNK - 1], chunk[-1]]
        else:
            self._lasts[at] = chunk[-1]

    def remove(self, key: str) -> None:
        """Take out a key that is there."""
        at = bisect_left(self._lasts, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at], self._lasts[at]

    def range(self, start: str, end: str) -> Iterator[str]:
        """The keys from `start` (inclusive) to `end` (exclusive); the set must not change meanwhile."""
        at = bisect_left(self._lasts, start)
        if at == len(self._chunks):
            return
        low = bisect_left(self._chunks[at], start)
        for chunk, last in zip(self._chunks[at:], self._lasts[at:], strict=True):
            if last >= end:
                yield from chunk[low : bisect_left(chunk, end, low)]
                return
            yield from chunk[low:] if low else chunk
            low = 0

    def count(self, start: str, end: str) -> int:
        """How many keys `range` would give."""
        return max(0, self._rank(end) - self._rank(start))

    def _rank(self, key: str) -> int:
        at = bisect_left(self._lasts, key)
        before = sum(map(len, self._chunks[:at]))
        return before + (bisect_left(self._chunks[at], key) if at < len(self._chunks) else 0)


def prefix_end(prefix: str) -> str:
    """The smallest string above every key that begins with `prefix`."""
    # U+10FFFF is no character of any key: Kubernetes names are ASCII, and Unicode never assigns it.
    return prefix + "\U0010ffff"
