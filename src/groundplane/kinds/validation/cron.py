"""Schedules of CronJobs, with the complaints of the parser upstream uses (github.com/robfig/cron/v3, ParseStandard)."""

from __future__ import annotations

import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (
        1,
        12,
        {
            n: i + 1
            for i, n in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
        },
    ),
    (0, 6, {n: i for i, n in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}),
)
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_DURATION = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")


class _Bad(Exception):
    """A field is not one; the text says why."""


def complaint(schedule: str) -> str:
    """Why this is not a schedule; empty where it is one."""
    if schedule.startswith("@"):
        return _descriptor(schedule)
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    try:
        for text, (low, high, words) in zip(fields, _FIELDS, strict=True):
            for part in text.split(","):
                _range(part, low, high, words)
    except _Bad as error:
        return str(error)
    return ""


def _descriptor(text: str) -> str:
    if text in _DESCRIPTORS:
        return ""
    if text.startswith("@every "):
        duration = text[len("@every ") :]
        if _DURATION.fullmatch(duration):
            return ""
        return f'failed to parse duration {text}: time: invalid duration "{duration}"'
    return f"unrecognized descriptor: {text}"


def _range(text: str, low: int, high: int, words: dict[str, int]) -> None:
    """`*`, `5`, `1-5`, `*/15`, `2-30/5`, `mon-fri`."""
    span, *steps = text.split("/")
    bounds = span.split("-")
    if bounds[0] in ("*", "?"):
        start, end = low, high
    else:
        start = _number(bounds[0], words)
        end = _number(bounds[1], words) if len(bounds) == 2 else start
        if len(bounds) > 2:
            raise _Bad(f"too many hyphens: {text}")
    step = 1
    if len(steps) > 1:
        raise _Bad(f"too many slashes: {text}")
    if steps:
        step = _number(steps[0], {})
        if len(bounds) == 1:
            end = high
    if start < low:
        raise _Bad(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise _Bad(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise _Bad(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise _Bad(f"step of range should be a positive number: {text}")


def _number(text: str, words: dict[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if not re.fullmatch(r"[+-]?\d+", text):
        raise _Bad(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if text.startswith("-"):
        raise _Bad(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)
