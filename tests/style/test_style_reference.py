"""The generated reference is what the code says today, and the table of actors names resources that exist."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from groundplane.kinds.resources import resources

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "tools" / "generate_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "kinds.md", "docker-api.md", "runtime.md"])
def test_the_reference_is_what_the_code_says(tool: ModuleType, name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == tool.pages()[name], "run tools/generate_reference.py"


def test_every_actor_acts_on_something_that_is_served(tool: ModuleType) -> None:
    assert set(tool.ACTORS) <= {(r.group, r.plural) for r in resources()}
