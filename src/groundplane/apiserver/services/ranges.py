"""Limited ranges of numbers: take one, take any, give back.

Dynamic allocation starts in the upper part of a range, so that people can count on the lower band for addresses of
their own choice (KEP-3070, KEP-3668).
"""

from __future__ import annotations

import random


class Taken(Exception):
    """The number belongs to somebody."""


class OutOfRange(Exception):
    """The number is not in the range."""


class Full(Exception):
    """Nothing is left."""


class Range:
    """Numbers first…last; `band` of them, at the front, are given out dynamically only when the rest is used up."""

    def __init__(self, first: int, last: int, band: int) -> None:
        self.first = first
        self.last = last
        self._band = min(band, last - first)
        self._taken: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def take(self, number: int) -> None:
        """Raises OutOfRange, Taken."""
        if number not in self:
            raise OutOfRange
        if number in self._taken:
            raise Taken
        self._taken.add(number)

    @property
    def taken(self) -> set[int]:
        return self._taken

    def replace(self, numbers: set[int]) -> None:
        """Exactly these are taken."""
        self._taken = numbers

    def restore(self, number: int) -> None:
        """Take a number that a living object has, whoever else has it."""
        self._taken.add(number)

    def take_any(self) -> int:
        """Raises Full."""
        for first, last in ((self.first + self._band, self.last), (self.first, self.first + self._band - 1)):
            if last < first:
                continue
            number = random.randint(first, last)
            for _ in range(last - first + 1):
                if number not in self._taken:
                    self._taken.add(number)
                    return number
                number = first if number == last else number + 1
        raise Full

    def free(self, number: int) -> None:
        self._taken.discard(number)


def ip_band(size: int) -> int:
    """KEP-3070: at least 16, at most 256, else a sixteenth."""
    return 0 if size <= 16 else min(max(16, size // 16), 256)


def port_band(size: int) -> int:
    """KEP-3668: at least 16, at most 128, else a thirty-second."""
    return 0 if size <= 16 else min(max(16, size // 32), 128)
