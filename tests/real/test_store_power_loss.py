"""The SQLite store after a power cut at any system call: all that was answered is there, and nothing in between.

GROUND_STORE_CUTS=5000 pytest tests/real/test_store_power_loss.py      the long form: so many cuts of each history
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.power_loss import Disk, read, recorded

from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("strace")
HISTORY = Path(__file__).with_name("store_history.py")
CUTS = int(os.environ.get("GROUND_STORE_CUTS", "150"))
State = dict[str, str]


def cuts(directory: Path, which: str) -> Iterator[tuple[list[str], Path]]:
    """For each of many moments: what had been said by then, and a directory as a power cut may have left it."""
    calls = recorded(HISTORY, str(directory / "live"), which, trace=directory / "trace")
    ours = [n for n, c in enumerate(calls) if f"{directory}/live" in c.arguments or c.arguments.startswith("1<")]
    chance = random.Random(7)
    chosen = sorted(chance.choices(ours, k=CUTS))
    disk, into, at = Disk(directory / "live"), directory / "cut", 0
    for moment in chosen:
        for call in calls[at:moment]:
            disk.apply(call)
        at = max(at, moment)
        into.mkdir()
        disk.after_a_cut(into, chance)
        yield list(disk.said), into
        shutil.rmtree(into)


def history(said: list[str]) -> dict[int, State]:
    """The state after each revision that was told."""
    states: dict[int, State] = {0: {}}
    for line in said:
        if not line.startswith("wrote "):
            continue
        _, revision, kind, key, value = line.split(" ")
        state = dict(states[int(revision) - 1])
        if kind == "delete":
            del state[key]
        else:
            state[key] = value
        states[int(revision)] = state
    return states


def opened(directory: Path) -> tuple[int, State]:
    """What a store that is opened there has: its revision and state, checked."""

    async def look() -> tuple[int, State]:
        store = await open_store(f"sqlite:{directory}/store.db")
        try:
            assert await store.check() == []
            page = await store.list("")
            revision = await store.create("/more", b"it can be written")
            return revision - 1, {e.key: e.value.decode() for e in page.entries}
        finally:
            await store.close()

    return asyncio.run(look())


def everything_said(directory: Path) -> list[str]:
    """The whole history of the run that `cuts` recorded."""
    disk = Disk(directory / "live")
    for call in read(directory / "trace"):
        disk.apply(call)
    return disk.said


def test_nothing_answered_is_lost(state_root: Path) -> None:
    found: list[tuple[int, int, State]] = []
    for said, directory in cuts(state_root, "written"):
        answered = max((int(line.split(" ")[1]) for line in said if line.startswith("wrote ")), default=0)
        found.append((answered, *opened(directory)))
    states = history(everything_said(state_root))
    assert len(states) > 150
    for answered, revision, state in found:
        assert revision >= answered
        assert state == states[revision], f"revision {revision} is not as it was written"
    assert len({answered for answered, _, _ in found}) > min(CUTS, 1000) // 10


def test_a_restore_happens_or_does_not(state_root: Path) -> None:
    seen: list[tuple[list[str], int, State]] = []
    for said, directory in cuts(state_root, "restored"):
        if "begin" in said:
            seen.append((said, *opened(directory)))
    said = everything_said(state_root)
    states = history(said)
    kept = max(int(line.split(" ")[1]) for line in said[: said.index("backed-up")])
    for said, revision, state in seen:
        if revision > max(states):
            assert state == states[kept]
        else:
            assert "end" not in said
            assert (revision, state) == (max(states), states[max(states)])
    assert {revision > max(states) for _, revision, _ in seen} == {True, False}
