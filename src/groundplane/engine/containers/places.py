"""Where each part of a container lies: paths below the state root and the run directory, and names of cgroups."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from groundplane.base.ids import instance_hash
from groundplane.base.settings import Settings


@dataclass(frozen=True, slots=True)
class Places:
    """Of one instance. `cgroups` is its own group, below each hierarchy's root."""

    state: Path  # ROOT/containers
    run: Path  # RUN/c
    sandboxes: Path  # ROOT/sandboxes
    pins: Path  # RUN/s
    cgroups: str

    @classmethod
    def of(cls, settings: Settings) -> Places:
        root, run = Path(settings.root), Path(os.path.realpath(settings.run))
        name = f"{settings.cgroup_parent}-{instance_hash(settings.root)}"
        return cls(root / "containers", run / "c", root / "sandboxes", run / "s", name)

    def directory(self, id: str) -> Path:
        return self.state / id

    def end_file(self, id: str) -> Path:
        return self.state / id / "exit"

    def run_dir(self, id: str) -> Path:
        """12 digits of the id, because a socket lies in it and its path ends at 107 bytes (unix(7))."""
        return self.run / id[:12]

    def cgroup(self, id: str, parent: str) -> str:
        """A container's group; `parent` is relative to the instance's own, empty: `containers`."""
        return f"{self.cgroups}/{parent or 'containers'}/{id}"

    def pin_dir(self, sandbox_id: str) -> Path:
        return self.pins / sandbox_id[:12]
