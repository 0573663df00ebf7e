"""Verbs that do one thing to each container or image named: the answers of those that worked, errors for the rest."""

from __future__ import annotations

import sys

from groundplane.cli.api import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def for_each(names: Sequence[str], work: Callable[[str], object]) -> int:
    """Do `work` to each name, printing the name (or the text it returns); 1 if one of them failed."""
    code = 0
    for name in names:
        try:
            answer = work(name)
        except ApiError as error:
            sys.stderr.write(f"{error}\n")
            code = 1
        else:
            sys.stdout.write(f"{name if answer is None else answer}\n")
    return code
