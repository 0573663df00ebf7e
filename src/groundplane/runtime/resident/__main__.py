"""`python -m groundplane.runtime.resident --run DIR [--ready-fd N] [--daemon PID:TICKS] [-- groundd args…]`.

`command.spawner_argv` gives the command line that starts it with the fewest imports; this module then runs as it is.
"""

from __future__ import annotations

from groundplane.runtime.resident.main import main

raise SystemExit(main())
