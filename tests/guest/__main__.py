"""`python -m tests.guest v2 COMMAND …`: a command in a guest, by hand. Layouts: v2, v1, hybrid.

GROUND_GUEST_MODULES adds modules (`veth,bridge`), GROUND_GUEST_SECONDS moves the limit of 600 seconds.
"""

from __future__ import annotations

import os
import sys

from tests.guest import kernel, machine


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] not in (machine.V2, machine.V1, machine.HYBRID):
        print(__doc__, file=sys.stderr)
        return 2
    if (found := kernel.find()) is None:
        print(f"there is no kernel in {kernel.directory()}: {kernel.PREPARE} gets one", file=sys.stderr)
        return 1
    more = tuple(name for name in os.environ.get("GROUND_GUEST_MODULES", "").split(",") if name)
    job = machine.Job(
        sys.argv[2:],
        layout=sys.argv[1],
        modules=machine.MODULES + more,
        seconds=float(os.environ.get("GROUND_GUEST_SECONDS", "600")),
    )
    try:
        ended = machine.run(found, job)
    except machine.GuestError as error:
        print(error, file=sys.stderr)
        return 1
    print(ended.output, end="")
    return ended.code


sys.exit(main())
