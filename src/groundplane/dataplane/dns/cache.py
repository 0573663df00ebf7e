"""Answers of the host's name servers, remembered for as long as they allow, at most 30 seconds (CoreDNS `cache 30`).

A pod's resolver tries each search domain first, and many programs look a name up for every connection; without this,
each of them would wait for the host's server. Errors and empty answers are remembered as their SOA says (RFC 2308).
"""

from __future__ import annotations

from dataclasses import replace

from groundplane.base.clock import Clock
from groundplane.wire import dns

_LONGEST = 30
_MOST = 1000  # answers; the oldest leave first


class AnswerCache:
    """Answers by the question as it was asked (its bytes without the id)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[bytes, tuple[dns.Message, float, float]] = {}  # answer, when it came, when it ends

    def get(self, asked: bytes) -> dns.Message | None:
        """The answer with its times counted down; None where there is none, or its time is over."""
        found = self._answers.get(asked)
        if found is None:
            return None
        answer, came, ends = found
        now = self._clock.monotonic()
        if now >= ends:
            del self._answers[asked]
            return None
        age = int(now - came)
        return replace(
            answer, answers=_older(answer.answers, age), authority=_older(answer.authority, age), additional=()
        )

    def put(self, asked: bytes, answer: dns.Message) -> None:
        seconds = min(_lifetime(answer), _LONGEST)
        if seconds <= 0:
            return
        while len(self._answers) >= _MOST:
            del self._answers[next(iter(self._answers))]
        now = self._clock.monotonic()
        self._answers[asked] = answer, now, now + seconds


def _lifetime(answer: dns.Message) -> int:
    """Seconds, 0 for what must not be remembered."""
    if answer.truncated or answer.code not in (dns.NO_ERROR, dns.NAME_ERROR):
        return 0
    if answer.answers and answer.code == dns.NO_ERROR:
        return min(record.ttl for record in answer.answers)
    # RFC 2308 5: the smaller of the SOA's own time and its last field; without an SOA, nothing is known.
    limits = [min(r.ttl, int.from_bytes(r.data[-4:], "big")) for r in answer.authority if r.type == dns.SOA]
    return min(limits, default=0)


def _older(records: tuple[dns.Record, ...], age: int) -> tuple[dns.Record, ...]:
    return tuple(record._replace(ttl=max(0, record.ttl - age)) for record in records)
