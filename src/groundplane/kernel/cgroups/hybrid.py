"""Both at once: v1 controllers, and beside them a v2 tree with what is left (often nothing, or only hugetlb).

The group is made in all trees. The v2 tree earns its keep even without controllers: `cgroup.kill` ends a whole group
in one atomic write, and its `cgroup.procs` names every process.
"""

from __future__ import annotations

import errno

from groundplane.kernel.cgroups.contract import Entrance, Limits, View
from groundplane.kernel.cgroups.v1 import V1
from groundplane.kernel.cgroups.v2 import V2
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundplane.kernel.cgroups.oom import OomWatch
    from groundplane.kernel.cgroups.tree import Tree
    from groundplane.kernel.cgroups.usage import Usage
    from groundplane.kernel.cgroups.v1 import Hierarchy


class Hybrid(V1):
    """The v1 driver with the v2 tree beside it; limits go to whichever tree has the controller."""

    layout = "hybrid"

    def __init__(
        self, hierarchies: Sequence[Hierarchy], unified: str, tree: Tree | None = None, mountpoint: str = ""
    ) -> None:
        super().__init__(hierarchies, tree)
        self._unified = V2(unified, self._tree, mountpoint)

    def create(self, path: str) -> None:
        was_there = super().exists(path)
        super().create(path)
        try:
            self._unified.create(path)
        except KernelError:
            if not was_there:
                super().remove(path)
            raise

    def create_unified(self, path: str) -> None:
        self._unified.create(path)

    def exists(self, path: str) -> bool:
        return super().exists(path) or self._unified.exists(path)

    def set(self, path: str, limits: Limits) -> list[str]:
        for file in limits.unified or ():
            if file.partition(".")[0] in self._by_controller:
                hint = f"invalid configuration: cannot use unified on cgroup v1 ({file})"
                raise KernelError("cgroup", errno.EINVAL, file, hint)
        elsewhere = {c for c in self._unified.controllers() if c not in self._by_controller}
        rest = limits.only(elsewhere)
        rest.unified = limits.unified
        return self._grant(path, limits, elsewhere) + self._unified.set(path, rest)

    def entrance(self, path: str, *, below: Mapping[str, str] | None = None, beside: int = 0) -> Entrance:
        everywhere = {"": below[""]} if below and "" in below else None
        unified = self._unified.entrance(path, below=everywhere, beside=beside)
        return Entrance(unified.directory, super().entrance(path, below=below).tasks)

    def usage(self, path: str) -> Usage:
        usage = super().usage(path)
        other = self._unified.usage(path)
        usage.memory = usage.memory or other.memory
        usage.io = usage.io or other.io
        usage.hugetlb = usage.hugetlb or other.hugetlb
        usage.rdma = usage.rdma or other.rdma
        return usage

    def watch_oom(self, path: str) -> OomWatch:
        return super().watch_oom(path) if "memory" in self._by_controller else self._unified.watch_oom(path)

    def processes(self, path: str) -> list[int]:
        return sorted({*super().processes(path), *self._unified.processes(path)})

    def kill(self, path: str) -> None:
        # Frozen by v1's freezer a process does not die of v2's kill until it is thawed.
        if self.frozen(path):
            self.thaw(path)
        # Whatever is in a v1 group but not in ours on v2 has been moved by somebody else, and must end too.
        strays = set(super().processes(path)) - set(self._unified.processes(path))
        try:
            self._unified.kill(path)
        except KernelError as error:
            if error.errno != errno.ENOSYS:  # no cgroup.kill before Linux 5.14: the v1 way
                raise
            strays.add(0)
        if strays:
            super().kill(path)

    def remove(self, path: str) -> None:
        super().remove(path)
        self._unified.remove(path)

    def prune(self, path: str) -> None:
        super().prune(path)
        self._unified.prune(path)

    def paths_of(self, pid: int) -> dict[str, str]:
        return {**super().paths_of(pid), **self._unified.paths_of(pid)}

    def views(self, path: str) -> list[View]:
        views = super().views(path)
        for view in self._unified.views(path):
            views.append(View("unified", view.fstype, view.options, view.directory, view.links))
        return views
