"""`ground apiserver`."""

from __future__ import annotations

from groundplane.cli.platform.roles import apiserver as run

__all__ = ["run"]
