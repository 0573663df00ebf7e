"""Counts, percentages and fields that may not change: what many kinds check alike."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import names
from groundplane.kinds.validation.errors import Errors, invalid, required, unsupported

Object = dict[str, Any]

NEGATIVE = "must be greater than or equal to 0"


def not_negative(holder: Object, path: str, *fields: str) -> Errors:
    return [
        invalid(f"{path}.{name}", holder[name], NEGATIVE)
        for name in fields
        if holder.get(name) is not None and holder[name] < 0
    ]


def count_or_percent(value: Any, path: str) -> Errors:
    """`3` or `25%`, neither negative."""
    if isinstance(value, str):
        return [invalid(path, value, message) for message in names.percent(value)]
    return [invalid(path, value, NEGATIVE)] if value < 0 else []


def at_most_all(value: Any, path: str) -> Errors:
    """A percentage above 100 makes no sense for what is taken away."""
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def is_zero(value: Any) -> bool:
    return value in (0, "0%", "0") or (isinstance(value, str) and not names.percent(value) and int(value[:-1]) == 0)


def one_of(value: str, path: str, allowed: tuple[str, ...]) -> Errors:
    """A word that must be there and be one of these."""
    if value in allowed:
        return []
    return [unsupported(path, value, allowed) if value else required(path)]


def immutable(new: Object, old: Object, path: str, *fields: str) -> Errors:
    return [
        invalid(f"{path}.{name}" if path else name, new.get(name), "field is immutable")
        for name in fields
        if new.get(name) != old.get(name)
    ]
