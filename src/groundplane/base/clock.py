"""Time as a parameter: everything that waits or stamps takes a `Clock`, so that tests never sleep."""

from __future__ import annotations

import time

TYPE_CHECKING = False  # `typing` costs 5 ms at import, which the runtime's command line does not have
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Clock(Protocol):
    """Wall time for stamps, monotonic time for intervals, and a sleep that both follow."""

    def time(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""


class SystemClock:
    """The host's clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio  # late, because the runtime and the CLI import this module without an event loop

        await asyncio.sleep(seconds)


def rfc3339(seconds: float) -> str:
    """`2026-01-31T12:00:00Z`: metav1.Time, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def rfc3339_micro(seconds: float) -> str:
    """`2026-01-31T12:00:00.000000Z`: metav1.MicroTime."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def rfc3339_nano(nanoseconds: int) -> str:
    """`2026-01-31T12:00:00.000000000Z`: the stamp of CRI log lines and of Docker's documents (RFC3339Nano, padded)."""
    whole, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{fraction:09d}Z"


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 stamp with any fraction and offset. Raises ValueError."""
    import datetime  # late: 2 ms that the runtime's command line does not need

    head, _, rest = text.partition(".")
    if rest:
        digits = rest.rstrip("Zz")
        for sign in "+-":
            digits = digits.partition(sign)[0]
        zone = rest[len(digits) :]
        whole = datetime.datetime.fromisoformat(head + zone.replace("Z", "+00:00").replace("z", "+00:00"))
        return whole.timestamp() + float(f"0.{digits}")
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00")).timestamp()
