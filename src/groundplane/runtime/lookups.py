"""What launches need to know of the host and what does not change while this process lives."""

from __future__ import annotations

import os

from groundplane.kernel.cgroups import registry
from groundplane.runtime.plan import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.contract import Groups


class _Once:
    """What does not change while this process lives, looked up at the first launch."""

    __slots__ = ("_groups", "_host", "_processors")

    def __init__(self) -> None:
        self._groups: Groups | None = None
        self._host: Host | None = None
        self._processors = 0

    def groups(self) -> Groups:
        if self._groups is None:
            self._groups = registry.detect()
        return self._groups

    def host(self) -> Host:
        if self._host is None:
            self._host = Host.look()
        return self._host

    def processors(self) -> int:
        if not self._processors:
            self._processors = os.sysconf("SC_NPROCESSORS_CONF")  # reads a file
        return self._processors


once = _Once()


def prepare() -> None:
    """Look up what launches need to know of the host. Optional: a process that forks launchers calls it before."""
    once.groups()
    once.host()
    once.processors()
