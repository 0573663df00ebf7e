"""The committed pack is what the tool makes of its tables, where those lie beside the project."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT.parent / "shared" / "reference"


@pytest.mark.skipif(not REFERENCE.exists(), reason="no reference tables beside the project")
def test_the_pack_is_generated() -> None:
    spec = importlib.util.spec_from_file_location("generate_kinds", ROOT / "tools" / "generate_kinds.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    pack = ROOT / "src" / "groundplane" / "kinds" / "packed"
    files: dict[str, str] = tool.generate(REFERENCE)
    assert sorted(files) == sorted(path.name for path in pack.iterdir())
    for name, text in files.items():
        assert (pack / name).read_text() == text, f"{name}: run tools/generate_kinds.py"
