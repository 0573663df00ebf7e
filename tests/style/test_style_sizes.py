"""Small files, small functions. The lists of exceptions only shrink, and each carries its reason."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES = 600
FUNCTION_LINES = 60

# path → why it may be longer. A file that no longer is must leave the list.
LONG_FILES: dict[str, str] = {}
# path:function → why it may be longer.
LONG_FUNCTIONS: dict[str, str] = {}


def sources() -> list[Path]:
    return sorted(p for folder in ("src", "tests", "bench", "tools", "examples") for p in (ROOT / folder).rglob("*.py"))


def test_files_are_small() -> None:
    long = {str(p.relative_to(ROOT)) for p in sources() if p.read_text().count("\n") > FILE_LINES}
    assert long == set(LONG_FILES)


def test_functions_are_small() -> None:
    long = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                first = node.lineno
                if node.end_lineno - first + 1 > FUNCTION_LINES:
                    long.add(f"{path.relative_to(ROOT)}:{node.name}")
    assert long == set(LONG_FUNCTIONS)


def test_packages_say_what_they_own() -> None:
    """A border-post docstring in each package (its `__init__.py`)."""
    silent = [
        str(p.relative_to(ROOT))
        for p in (ROOT / "src").rglob("__init__.py")
        if not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []
