"""`ground scheduler`."""

from __future__ import annotations

from groundplane.cli.platform.roles import scheduler as run

__all__ = ["run"]
