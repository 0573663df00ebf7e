"""The one place that reads the generated pack (`packed/*.json`, made by tools/generate_kinds.py), file by file.

The files hold rows instead of objects, so that a platform that never touches a group pays nothing for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundplane.base.jsonyaml import loads

_PACK = Path(__file__).parent / "packed"


def rows(name: str) -> list[Any]:
    """The rows of one pack file. Raises FileNotFoundError where there is no such file."""
    found: list[Any] = loads((_PACK / f"{name}.json").read_bytes())
    return found


def bootstrap_objects() -> list[dict[str, Any]]:
    """The objects that upstream has after its first start: roles, bindings, flow schemas, namespaces and the like."""
    return [loads(line) for line in (_PACK / "bootstrap.jsonl").read_bytes().splitlines() if line]


def files() -> list[Path]:
    """All files of rows."""
    return sorted(_PACK.glob("*.json"))
