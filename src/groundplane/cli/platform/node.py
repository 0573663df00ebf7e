"""`ground node`."""

from __future__ import annotations

from groundplane.cli.platform.roles import node as run

__all__ = ["run"]
