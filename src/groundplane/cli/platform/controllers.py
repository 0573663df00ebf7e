"""`ground controllers`."""

from __future__ import annotations

from groundplane.cli.platform.roles import controllers as run

__all__ = ["run"]
