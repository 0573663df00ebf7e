"""The root of every error that a user may see: one sentence with subject, cause and next step.

Each border has its own subclass; `cli` prints `str(error)` and exits with `exit_code`. A library's exception is
chained (`raise … from error`), never shown alone.
"""

from __future__ import annotations


class GroundError(Exception):
    """An error with a sentence a user can act on: what, where, why, and what to do next.

    `retry` says whether the same call may succeed later without anyone changing anything.
    """

    exit_code = 1
    retry = False


class UsageError(GroundError):
    """The command's words are wrong; nothing was done."""

    exit_code = 2


class NotFoundError(GroundError):
    """The named thing does not exist."""


class ConflictError(GroundError):
    """The named thing exists already, or is in a state that forbids the call."""


class UnavailableError(GroundError):
    """The other side cannot answer now; trying again may work."""

    retry = True
