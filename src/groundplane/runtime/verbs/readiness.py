"""What `create`, `run` and `start` do for a service manager that waits for readiness; `notify.py` does the rest."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.runtime.notify import Relay


def offer(config: dict[str, Any], directory: str) -> None:
    """Give the container a notification socket, if a manager gave us one."""
    if os.environ.get("NOTIFY_SOCKET"):
        from groundplane.runtime import notify  # late: few are started by such a manager

        notify.offer(config, directory)


def listen(directory: str) -> Relay | None:
    """Our end of it, if the container was offered one and the manager still waits."""
    host = os.environ.get("NOTIFY_SOCKET", "")
    if not host or not os.path.isdir(f"{directory}/notify"):
        return None
    from groundplane.runtime.notify import Relay

    return Relay(directory, host)
