"""`ground-runtime`: runc's command line. `commands.py` has its verbs.

A verb that executes a container's program runs in a second interpreter, which cannot be overwritten (`protect.py`). The
first one only gets there, so it imports nothing else.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PROTECTED = {"create", "run", "exec"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Its status: 0, 1 for an error, 255 for one of `exec`, 3 for an unknown verb, or a child's."""
    gc.disable()  # a short life: the collector would only walk what the imports made
    words = list(sys.argv[1:] if argv is None else argv)
    # An option's value that is one of these words costs a second start and nothing else.
    if not _PROTECTED.isdisjoint(words):
        from groundplane.base.errors import GroundError
        from groundplane.runtime import protect

        try:
            protect.ensure("groundplane.runtime.main", words)
        except GroundError as error:
            from groundplane.runtime import commands

            return commands.refuse(words, error)
        protect.forget()
    from groundplane.runtime import commands

    return commands.run(words)


if __name__ == "__main__":
    sys.exit(main())
