"""A machine whose system calls we do not know: every verb that needs them is one sentence, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groundplane import runtime

_PROGRAM = """\
import os, sys
real = os.uname()
os.uname = lambda: os.uname_result((real.sysname, real.nodename, real.release, real.version, {machine!r}))
sys.path.insert(0, {source!r})
from groundplane.runtime.main import main
main()
"""


@pytest.mark.parametrize("machine", ["riscv64", "i686", "armv7l"])
@pytest.mark.parametrize("words", ["create x", "run x", "exec x true", "kill x", "ps x"])
def test_another_architecture_is_one_sentence(words: str, machine: str, tmp_path: Path) -> None:
    program = _PROGRAM.format(machine=machine, source=str(Path(runtime.__file__).parents[2]))
    command = [sys.executable, "-ISB", "-c", program, "--root", str(tmp_path / "root"), *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (255 if words.startswith("exec") else 1)
    (line,) = done.stderr.splitlines()
    assert f"this machine's architecture ({machine}) is not supported" in line or "container does not exist" in line
