"""Reading logs: tails, times, rotation under the reader, and lines that nobody of ours wrote."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.base.clock import rfc3339_nano
from groundplane.engine.containers import logs
from groundplane.engine.containers.logs import Wanted
from groundplane.engine.contract import LogLine

START = 1_700_000_000_000_000_000
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def line(number: int, tag: str = "F", stream: str = "stdout") -> bytes:
    return f"{rfc3339_nano(START + number * 1_000_000_000)} {stream} {tag} line {number}\n".encode()


async def read(path: Path, **wanted: Any) -> list[LogLine]:
    return [found async for found in logs.read(str(path), Wanted(**wanted))]


def numbers(found: list[LogLine]) -> list[int]:
    return [(item.at - START) // 1_000_000_000 for item in found]


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """Lines 0 to 2999 in three files."""
    path = tmp_path / "log"
    for suffix, first in ((".2", 0), (".1", 1000), ("", 2000)):
        Path(f"{path}{suffix}").write_bytes(b"".join(line(n) for n in range(first, first + 1000)))
    return path


def test_all_files_are_one_log(run: Run, rotated: Path) -> None:
    assert numbers(run(read(rotated))) == list(range(3000))


@pytest.mark.parametrize("tail", [0, 1, 2, 999, 1000, 1001, 2500, 3000, 9999])
def test_a_tail_reaches_back_across_files(run: Run, rotated: Path, tail: int) -> None:
    assert numbers(run(read(rotated, tail=tail))) == list(range(max(3000 - tail, 0), 3000))


def test_times_limit_what_is_read(run: Run, rotated: Path) -> None:
    since, until = START + 1500 * 1_000_000_000, START + 1510 * 1_000_000_000
    assert numbers(run(read(rotated, since=since, until=until))) == list(range(1500, 1511))


def test_a_partial_line_has_no_end_and_foreign_lines_are_left_out(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(1, "P", "stderr") + b"somebody else was here\n" + b"\n" + line(2) + b"2023-11-14T22:13:2")
    found = run(read(path))
    assert [(item.stream, item.data) for item in found] == [("stderr", b"line 1"), ("stdout", b"line 2\n")]


def test_no_log_is_an_empty_log(run: Run, tmp_path: Path) -> None:
    assert run(read(tmp_path / "none")) == []
    assert run(read(tmp_path / "none", tail=5)) == []


def test_a_reader_between_two_renames_misses_no_file(run: Run, rotated: Path) -> None:
    os.rename(f"{rotated}.2", f"{rotated}.3")  # as far as a rotation has come: nothing is called `.2`
    assert numbers(run(read(rotated))) == list(range(3000))


def test_a_file_renamed_under_its_reader_is_not_skipped(
    run: Run, rotated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rotation comes when the reader knows which file is the next, and has not opened it."""
    is_same = logs._same
    rotated_meanwhile = False

    def rotate(one: os.stat_result, path: str) -> bool:
        nonlocal rotated_meanwhile
        answer = is_same(one, path)
        if answer and not rotated_meanwhile:
            rotated_meanwhile = True
            for source, target in ((".2", ".3"), (".1", ".2"), ("", ".1")):
                os.rename(f"{rotated}{source}", f"{rotated}{target}")
            rotated.write_bytes(line(3000))
        return answer

    monkeypatch.setattr(logs, "_same", rotate)
    assert numbers(run(read(rotated))) == list(range(3001))


def test_a_follower_keeps_up_with_rotation_and_ends_with_the_container(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(0))
    running = True
    changed = asyncio.Event()

    async def work() -> list[int]:
        nonlocal running
        found: list[LogLine] = []

        async def follow() -> None:
            items = logs.follow(str(path), Wanted(), lambda: running, lambda: changed)
            found.extend([item async for item in items])

        follower = asyncio.ensure_future(follow())
        number = 1
        for _ in range(6):
            for _ in range(3):
                with open(path, "ab") as f:
                    f.write(line(number))
                number += 1
                await asyncio.sleep(0.01)
            for generation in (2, 1):
                if os.path.exists(f"{path}.{generation}"):
                    os.rename(f"{path}.{generation}", f"{path}.{generation + 1}")
            os.rename(path, f"{path}.1")
            path.write_bytes(b"")
        running = False
        changed.set()
        await follower
        assert number == 19
        return numbers(found)

    assert run(work()) == list(range(19))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_can_lie_in_a_log(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="ground-test-log-") as f:
        f.write(data)
        f.flush()
        asyncio.run(read(Path(f.name)))
        asyncio.run(read(Path(f.name), tail=2))
