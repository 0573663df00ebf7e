"""The bundle of a command's modules: the same as without it, and never the code of a source that has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from groundplane.base import bundle

# termios, because it is a shared library everywhere; many others are built into Debian's interpreters.
MAIN = """
import sys
from groundplane.base import bundle
modules = bundle.install(__file__)
import pack.one, termios, colorsys
from pack import two
modules.save()
print(pack.one.VALUE, two.VALUE, pack.one.__file__ == {one!r}, pack.__path__ == [{pack!r}], termios.TCSAFLUSH)
print(*sorted(n for n in ("pack", "pack.one", "pack.two", "termios", "colorsys") if n in modules._found))
"""

Program = Callable[..., list[str]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A main with a package of two modules; its two lines."""
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "one.py").write_text("VALUE = 1\n")
    (pack / "two.py").write_text("VALUE = 2\n")
    (tmp_path / "__pycache__").mkdir()  # as there is for a main that was imported
    main = tmp_path / "main.py"
    main.write_text(MAIN.format(one=str(pack / "one.py"), pack=str(pack)))

    def run(**environ: str) -> list[str]:
        source = str(Path(bundle.__file__).parents[2])
        base = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        words = [sys.executable, "-S", str(main)]
        done = subprocess.run(
            words, env={**base, "PYTHONPATH": source, **environ}, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run


EVERYTHING = "colorsys pack pack.one pack.two termios"
VALUES = "1 2 True True 2"


def test_the_second_start_finds_everything(program: Program) -> None:
    assert program() == [VALUES, ""]
    assert program() == [VALUES, EVERYTHING]


def test_a_changed_source_is_imported_anew(program: Program, tmp_path: Path) -> None:
    program()
    (tmp_path / "pack/two.py").write_text("VALUE = 22\n")
    assert program() == ["1 22 True True 2", "colorsys pack pack.one termios"]
    assert program() == ["1 22 True True 2", EVERYTHING]


def test_a_removed_source_is_missed(program: Program, tmp_path: Path) -> None:
    program()
    (tmp_path / "pack/two.py").unlink()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        program()
    assert "cannot import name 'two'" in caught.value.stderr


def test_a_damaged_file_is_no_file(program: Program, tmp_path: Path) -> None:
    program()
    (file,) = tmp_path.glob("__pycache__/*.bundle")
    whole = file.read_bytes()
    for bad in (b"", b"\xff\xff\xff\x7f", b"\4\0\0\0junk", whole[:99], whole[:-99], b"\4\0\0\0junk" + whole):
        file.write_bytes(bad)
        assert program() == [VALUES, ""]
        assert program() == [VALUES, EVERYTHING]


def test_what_is_not_to_be_written_is_not(program: Program, tmp_path: Path) -> None:
    assert program(PYTHONDONTWRITEBYTECODE="1") == [VALUES, ""]
    assert not list(tmp_path.glob("__pycache__/*.bundle*"))


def test_another_interpreter_does_not_use_it(program: Program, tmp_path: Path) -> None:
    program()
    (file,) = tmp_path.glob("__pycache__/*.bundle")
    version = sys.version.encode()
    file.write_bytes(file.read_bytes().replace(version, version.swapcase()))
    assert program() == [VALUES, ""]
