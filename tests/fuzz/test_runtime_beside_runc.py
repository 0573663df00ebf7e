"""Documents that differ from the usual one in many sections at once, under runc and under us: the same end, the same
view from inside, the same leftovers.

Every day the documents of `runtime_beside.jsonl`; `GROUND_BESIDE_RUNC=1000` in the environment draws so many others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.fuzz.runtime_beside import Bench
from tests.fuzz.runtime_documents import Change, documents

_MANY = int(os.environ.get("GROUND_BESIDE_RUNC", "0"))
_OURS = [sys.executable, "-m", "groundplane.runtime.main"]


def _is_judge() -> bool:
    program = shutil.which("runc")
    return (
        bool(program)
        and "runc version 1.1."
        in subprocess.run(["runc", "--version"], capture_output=True, text=True, check=False).stdout
    )


pytestmark = [
    pytest.mark.needs("root", "cgroups", "busybox", "runc"),
    pytest.mark.skipif(not _is_judge(), reason="the judge is runc 1.1.5: others see some things differently"),
    pytest.mark.skipif(not os.path.isdir("/sys/fs/cgroup/memory"), reason="what is read inside are files of version 1"),
]


@contextmanager
def bench() -> Iterator[Bench]:
    made = Bench(Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp")))
    try:
        yield made
    finally:
        made.groups.remove(made.cgroup.partition("/")[0])
        shutil.rmtree(made.directory)


def compare(made: Bench, changes: list[Change]) -> None:
    document = made.document(changes)
    theirs, ours = made.run(["runc"], document), made.run(_OURS, document)
    assert (ours.code == 0) == (theirs.code == 0), (ours.sentence, theirs.sentence)
    assert "Traceback" not in ours.sentence
    assert ours.told == theirs.told, (ours.sentence, theirs.sentence)
    assert ours.left == theirs.left


def kept() -> list[list[Change]]:
    """Documents of a long run that have many sections each."""
    lines = (Path(__file__).parent / "runtime_beside.jsonl").read_text().splitlines()
    return [[(tuple(place), value) for place, value in json.loads(line)] for line in lines]


def test_documents_end_alike_under_both() -> None:
    with bench() as made:
        for changes in kept():
            compare(made, changes)


@pytest.mark.skipif(not _MANY, reason="GROUND_BESIDE_RUNC says how many documents to draw")
def test_drawn_documents_end_alike_under_both() -> None:
    with bench() as made:

        @seed(_MANY)
        @settings(
            max_examples=_MANY,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(documents)
        def drawn(changes: list[Change]) -> None:
            compare(made, changes)

        drawn()
