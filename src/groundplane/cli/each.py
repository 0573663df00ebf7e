"""Verbs that do one thing to each container or image named: the answers of those that worked, errors for the rest."""

from __future__ import annotations

import sys

from groundplane.cli.api import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundplane.cli.api import Pending

_AT_ONCE = 50  # requests under way, as docker's own parallel operations


def for_each(
    names: Sequence[str], ask: Callable[[str], Pending], answer: Callable[[str, Pending], object] | None = None
) -> int:
    """Send each name's request, many at once, and print in the order of the names; 1 if one of them failed.

    `answer` reads what came and gives the text to print (the name where it is None, or where there is none to read).
    Side by side, because stopping ten containers that ignore SIGTERM should take ten seconds, not a hundred.
    """
    code = 0
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        for name, pending in [(name, ask(name)) for name in some]:
            try:
                text = answer(name, pending) if answer else _done(pending)
            except ApiError as error:
                sys.stderr.write(f"{error}\n")
                code = 1
            else:
                sys.stdout.write(f"{name if text is None else text}\n")
        sys.stdout.flush()
    return code


def _done(pending: Pending) -> object:
    pending.done()
    return None
