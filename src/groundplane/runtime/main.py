"""`ground-runtime`: runc's command line. `commands.py` has its verbs.

`exec` runs in a second interpreter, which the container's processes cannot overwrite (`protect.py`). The first one only
gets there, so it imports nothing else. `create` and `run` get there too where they have to, once they know the bundle.
"""

from __future__ import annotations

import gc
import os
import sys

from groundplane.base import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> None:
    """The console script. Ends without the interpreter's tear-down, which would cost 3 ms and has nothing to do."""
    gc.disable()  # a short life: the collector would only walk what the imports made
    modules = bundle.install(__file__)
    code = run_line(sys.argv[1:])
    modules.save()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 141  # 128 + SIGPIPE, as a shell says it
    os._exit(code)


def run_line(words: Sequence[str]) -> int:
    """Run one command. Its status: 0, 1 for an error, 255 for one of `exec`, 3 for an unknown verb, or a child's."""
    if "exec" in words:  # as an option's value it costs a second start and nothing else
        from groundplane.base.errors import GroundError

        try:
            from groundplane.runtime import protect  # refused on machines whose system calls we do not know

            protect.ensure("groundplane.runtime.main", list(words))
        except GroundError as error:
            from groundplane.runtime import commands

            return commands.refuse(words, error)
    from groundplane.runtime import commands

    return commands.run(words)


if __name__ == "__main__":
    main()
