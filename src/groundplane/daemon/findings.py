"""What `ground doctor` finds, as values: one line each."""

from __future__ import annotations

from dataclasses import dataclass

WORKS, DEGRADED, MISSING = "works", "degraded", "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is works, degraded (goes on without it; `text` says how) or missing (`mend` says what to do)."""

    name: str
    state: str
    text: str = ""
    mend: str = ""


def works(name: str, text: str = "") -> Finding:
    return Finding(name, WORKS, text)


def degraded(name: str, text: str, mend: str = "") -> Finding:
    return Finding(name, DEGRADED, text, mend)


def missing(name: str, text: str, mend: str) -> Finding:
    return Finding(name, MISSING, text, mend)
