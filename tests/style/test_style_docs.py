"""Prose is tested: links lead somewhere, and every path, module, make target and verb that a page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [t for t in targets if "://" not in t and not t.startswith("mailto:")]
    assert [t for t in local if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_paths_exist(page: Path) -> None:
    """`src/…`, `tests/…`, `docs/…`, `tools/…`, `bench/…`, `examples/…` in backquotes, with or without a line number."""
    named = re.findall(r"`((?:src|tests|docs|tools|bench|examples)/[^`\s*{<…]+)`", page.read_text())
    assert [n for n in named if not (ROOT / n.split(":")[0]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    """`test_…` alone in backquotes is a test function: a claim whose proof has been renamed or dropped is none."""
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text()))
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py")) if named else ""
    assert {name for name in named if f"def {name}(" not in sources} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", page.read_text())) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_verbs_exist(page: Path) -> None:
    from groundplane.cli.verbs import VERBS

    named = re.findall(r"(?:^|`|\$ |sudo )ground ([a-z][a-z-]+)", page.read_text(), re.MULTILINE)
    assert {v for v in named if v not in VERBS} == set()
