"""What the verbs that scripts call in loops import: nothing that costs milliseconds. Counted, not timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

_COSTLY = {
    *("re", "json", "enum", "typing", "dataclasses", "contextlib", "collections", "functools", "signal", "socket"),
    *("argparse", "asyncio", "http", "urllib", "subprocess", "logging", "importlib", "tempfile", "orjson", "yaml"),
}


@pytest.mark.parametrize("verb", ["run", "exec", "ps", "logs", "start", "stop", "rm", "version", "images"])
def test_a_verb_imports_little(verb: str) -> None:
    modules = f"groundplane.cli.main, groundplane.cli.{verb}, groundplane.cli.streams"
    code = f"import sys; before = set(sys.modules); import {modules}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()} & _COSTLY == set()
