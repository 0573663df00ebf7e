"""What a benchmark says: rows with medians and spreads, against a peer's row or a goal. Values, and their table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Work = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One measured quantity: `samples` in `unit`, all kept, so that the spread can be shown."""

    samples: Sequence[float]
    unit: str = "ms"

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def quantile(self, share: float) -> float:
        return sorted(self.samples)[min(int(len(self.samples) * share), len(self.samples) - 1)]

    def __str__(self) -> str:
        digits = _digits(self.median)
        if len(self.samples) == 1:
            return f"{self.median:,.{digits}f} {self.unit}"
        low, high = min(self.samples), max(self.samples)
        return f"{self.median:,.{digits}f} {self.unit} ({low:,.{digits}f}–{high:,.{digits}f}, n={len(self.samples)})"


@dataclass(frozen=True)
class Goal:
    """`at_most`/`at_least` is in the figure's unit, or, with `of`, a multiple of the peer of that name."""

    value: float
    at_least: bool = False
    of: str = ""

    def verdict(self, ours: Figure, peers: Mapping[str, Figure]) -> tuple[str, str]:
        """(the goal in words, how it stands)."""
        sign = "≥" if self.at_least else "≤"
        if self.of and self.of not in peers:
            return f"{sign} {self.value:g} × {self.of}", f"{self.of} was not measured"
        bound = self.value * (peers[self.of].median if self.of else 1)
        met = ours.median >= bound if self.at_least else ours.median <= bound
        words = f"{sign} {self.value:g} × {self.of}" if self.of else f"{sign} {self.value:,g} {ours.unit}"
        return words, "met" if met else f"missed ({ours.median / bound:.2f} × the goal)"


@dataclass(frozen=True)
class Row:
    """One line of the page. `command` is what was timed, as one would type it; `note` says what is not obvious."""

    what: str
    ours: Figure | None
    command: str
    peers: Mapping[str, Figure] = field(default_factory=dict)
    goal: Goal | None = None
    note: str = ""


def timed(work: Work) -> float:
    """Milliseconds of one call."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def interleaved(works: Mapping[str, Work], rounds: int, after: Work = lambda: None) -> dict[str, Figure]:
    """Each round runs everybody once, so that a noisy moment is noisy for all; one round before to warm up."""
    for work in works.values():
        work()
        after()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(timed(work))
            after()
    return {name: Figure(samples) for name, samples in taken.items()}


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown, then the commands."""
    rows = list(rows)
    lines = ["| what | ours | peers | ratio | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        goal, verdict = ("", "")
        if row.ours is None:
            verdict = "not measured"
        elif row.goal:
            goal, verdict = row.goal.verdict(row.ours, row.peers)
        peers = "<br>".join(f"{name} {figure}" for name, figure in row.peers.items())
        ratio = "<br>".join(_ratio(row.ours, figure) for figure in row.peers.values()) if row.ours else ""
        lines.append(f"| {row.what} | {row.ours or ''} | {peers} | {ratio} | {goal} | {verdict} |")
    lines += ["", "How each was measured:", ""]
    lines += [f"- {row.what}: `{row.command}`" + (f". {row.note}" if row.note else "") for row in rows]
    return "\n".join(lines) + "\n"


def _ratio(ours: Figure, peer: Figure) -> str:
    return f"{ours.median / peer.median:.2f} ×"


def _digits(value: float) -> int:
    return 0 if value >= 1000 else 1 if value >= 10 else 2
