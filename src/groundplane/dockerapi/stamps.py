"""Docker's words for times and durations (docker/go-units), in the fields that it renders on the server."""

from __future__ import annotations

from groundplane.base.clock import rfc3339_nano

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


def time_text(nanoseconds: int) -> str:
    """RFC3339Nano as Go prints it: the fraction without trailing zeros; Go's zero time where it has not happened."""
    if not nanoseconds:
        return NEVER
    head, _, fraction = rfc3339_nano(nanoseconds).rstrip("Z").partition(".")
    digits = fraction.rstrip("0")
    return f"{head}.{digits}Z" if digits else f"{head}Z"


def human_duration(seconds: float) -> str:
    """`units.HumanDuration`: `Less than a second`, `5 minutes`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    days = hours // 24
    for limit, amount, word in (
        (48, hours, "hours"),
        (24 * 7 * 2, days, "days"),
        (24 * 30 * 2, days // 7, "weeks"),
        (24 * 365 * 2, days // 30, "months"),
    ):
        if hours < limit:
            return f"{amount} {word}"
    return f"{int(seconds / 86400 / 365)} years"
