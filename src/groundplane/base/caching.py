"""Remembered answers about texts that clients send."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

V = TypeVar("V")
LONGEST = 256


def remember_short(size: int) -> Callable[[Callable[..., V]], Callable[..., V]]:
    """`lru_cache` for functions of texts. Long ones are worked out each time, else clients could fill memory."""

    def decorate(function: Callable[..., V]) -> Callable[..., V]:
        kept = lru_cache(maxsize=size)(function)

        @wraps(function)
        def call(*texts: str, **options: bool) -> V:
            return (kept if sum(map(len, texts)) <= LONGEST else function)(*texts, **options)

        return call

    return decorate
