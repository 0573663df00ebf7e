"""Version 1: one hierarchy for each controller (cgroups(7), Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import errno
import os

from groundplane.kernel.cgroups.contract import Entrance, Limits, Stats, View
from groundplane.kernel.cgroups.tree import (
    HostTree,
    check_path,
    flat_keyed,
    make_all,
    processes_below,
    remove_if_empty,
    remove_tree,
)
from groundplane.kernel.cgroups.v1_limits import wanted
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from groundplane.kernel.cgroups.oom import OomWatch
    from groundplane.kernel.cgroups.tree import Tree
    from groundplane.kernel.cgroups.usage import Usage

# memory.limit_in_bytes of an unlimited group: LONG_MAX rounded down to a page.
_NO_LIMIT = 0x7FFFFFFFFFFF0000


class Hierarchy:
    """One mounted v1 tree: its controllers (`cpu`; `name=systemd`) and the directory that paths start from."""

    __slots__ = ("controllers", "mountpoint", "root")

    def __init__(self, controllers: tuple[str, ...], root: str, mountpoint: str = "") -> None:
        self.controllers = controllers
        self.root = root
        self.mountpoint = mountpoint or root


class V1:
    """The driver of a host whose controllers are all v1."""

    layout = "v1"

    def __init__(self, hierarchies: Sequence[Hierarchy], tree: Tree | None = None) -> None:
        self._hierarchies = hierarchies
        self._by_controller = {c: h for h in hierarchies for c in h.controllers}
        self._tree: Tree = tree or HostTree()

    def create(self, path: str) -> None:
        check_path(path)

        def make(made: list[str]) -> None:
            for hierarchy in self._hierarchies:
                self._create_in(hierarchy, path, made)

        make_all(make, self._tree)

    def create_unified(self, path: str) -> None:
        """Nothing: there is no such tree."""

    def _create_in(self, hierarchy: Hierarchy, path: str, made: list[str]) -> None:
        cpuset = "cpuset" in hierarchy.controllers
        leaf = f"{hierarchy.root}/{path}"
        if self._make_leaf(leaf, made) and (not cpuset or self._inherit_cpuset(leaf.rpartition("/")[0], leaf)):
            return
        directory = hierarchy.root
        for name in path.split("/"):
            parent, directory = directory, f"{directory}/{name}"
            if self._tree.make(directory):
                made.append(directory)
            if cpuset:
                self._inherit_cpuset(parent, directory)

    def _make_leaf(self, directory: str, made: list[str]) -> bool:
        """Make a group whose parents are there, as they are but for the first one; else no."""
        try:
            if self._tree.make(directory):
                made.append(directory)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def _inherit_cpuset(self, parent: str, directory: str) -> bool:
        """Give a group its parent's CPUs and memory nodes where it has none; no where the parent has none either.

        cpuset(7): a new group is empty and takes no process until it has both. One that somebody else has made just
        now may still be empty, so this is not only for those that we made.
        """
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not self._tree.read(f"{directory}/{file}").strip():
                if not (inherited := self._tree.read(f"{parent}/{file}").strip()):
                    return False
                self._tree.write(f"{directory}/{file}", inherited)
        return True

    def exists(self, path: str) -> bool:
        check_path(path)
        return any(self._tree.exists(f"{h.root}/{path}") for h in self._hierarchies)

    def set(self, path: str, limits: Limits) -> list[str]:
        degraded = self._grant(path, limits)
        if limits.unified:
            degraded.append("cannot use unified on cgroup v1")
        return degraded

    def _grant(self, path: str, limits: Limits, elsewhere: Collection[str] = ()) -> list[str]:
        """Grant what v1's controllers can, but for those `elsewhere`."""
        check_path(path)
        degraded: list[str] = []
        for controller, apply in wanted(limits):
            if controller in elsewhere:
                continue
            if (hierarchy := self._by_controller.get(controller)) is not None:
                apply(self._tree, f"{hierarchy.root}/{path}", limits, degraded)
            elif controller == "devices":
                raise KernelError("cgroup", errno.ENODEV, path, "the devices controller is not mounted on this host")
            else:
                degraded.append(f"cannot set {controller} limit: the controller is not mounted on this host")
        return degraded

    def entrance(self, path: str, *, below: Mapping[str, str] | None = None, beside: int = 0) -> Entrance:
        check_path(path)
        for controller in below or ():
            if controller and controller not in self._by_controller:
                raise KernelError("attach", errno.EINVAL, path, f"unknown controller {controller}")
        tasks = []
        for hierarchy in self._hierarchies:
            directory = f"{hierarchy.root}/{path}"
            if below:
                name = next((below[c] for c in (*hierarchy.controllers, "") if c in below), "")
                directory += f"/{check_path(name)}" if name else ""
            tasks.append(f"{directory}/tasks")
        return Entrance("", tasks)

    def delegate(self, path: str, uid: int) -> None:
        """Nothing: v1's controllers trust whoever may write (config-linux.md, "Cgroup ownership")."""

    def processes(self, path: str) -> list[int]:
        check_path(path)
        # Any hierarchy would do; a process is put into all of them. The union also finds one that was put into a part.
        pids = {pid for h in self._hierarchies for pid in processes_below(self._tree, f"{h.root}/{path}")}
        return sorted(pids)

    def _file(self, controller: str, path: str, file: str) -> str | None:
        """A file's text; None where the controller is not mounted. Raises KernelError where the group is gone."""
        hierarchy = self._by_controller.get(controller)
        return None if hierarchy is None else self._tree.read(f"{hierarchy.root}/{path}/{file}")

    def stats(self, path: str) -> Stats:
        check_path(path)
        cpu = self._file("cpuacct", path, "cpuacct.usage")
        usage = self._file("memory", path, "memory.usage_in_bytes")
        memory = limit = None
        if usage is not None:
            inactive = flat_keyed(self._file("memory", path, "memory.stat") or "").get("total_inactive_file", 0)
            memory = max(int(usage) - inactive, 0)
            limit = int(self._file("memory", path, "memory.limit_in_bytes") or 0)
        pids = self._file("pids", path, "pids.current")
        return Stats(
            cpu_ns=None if cpu is None else int(cpu),
            memory=memory,
            memory_limit=limit if limit and limit < _NO_LIMIT else None,
            pids=None if pids is None else int(pids),
        )

    def usage(self, path: str) -> Usage:
        from groundplane.kernel.cgroups.v1_usage import usage_of  # late: only `events` looks that closely

        return usage_of(self._tree, {c: f"{h.root}/{check_path(path)}" for c, h in self._by_controller.items()})

    def watch_oom(self, path: str) -> OomWatch:
        from groundplane.kernel.cgroups.oom import V1Watch  # late, as above

        hierarchy = self._by_controller.get("memory")
        if hierarchy is None:
            raise KernelError("cgroup", errno.ENODEV, path, "the memory controller is not mounted on this host")
        return V1Watch(f"{hierarchy.root}/{check_path(path)}")

    def oom_count(self, path: str) -> int:
        check_path(path)
        try:
            text = self._file("memory", path, "memory.oom_control") or ""
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return 0
            raise
        return flat_keyed(text).get("oom_kill", 0)  # Linux ≥ 4.13

    def freeze(self, path: str) -> None:
        file = self._freezer(path)
        # cgroup-v1/freezer-subsystem.rst: FREEZING until the last task stands still; a task that forks meanwhile can
        # hold it up for ever, and writing FROZEN again makes the kernel try once more.
        for attempt in range(1000):
            self._tree.write(file, "FROZEN")
            if self._tree.read(file).strip() == "FROZEN":
                return
            self._tree.pause(0.0001 if attempt < 50 else 0.002)
        self._tree.write(file, "THAWED")
        raise KernelError("freeze", errno.EBUSY, path, "a process of it does not stop")

    def thaw(self, path: str) -> None:
        self._tree.write(self._freezer(path), "THAWED")

    def frozen(self, path: str) -> bool:
        check_path(path)
        hierarchy = self._by_controller.get("freezer")
        if hierarchy is None or not self._tree.exists(f"{hierarchy.root}/{path}"):
            return False
        return self._tree.read(f"{hierarchy.root}/{path}/freezer.state").strip() != "THAWED"

    def _freezer(self, path: str) -> str:
        check_path(path)
        hierarchy = self._by_controller.get("freezer")
        if hierarchy is None:
            raise KernelError("freeze", errno.ENODEV, path, "the freezer controller is not mounted on this host")
        return f"{hierarchy.root}/{path}/freezer.state"

    def kill(self, path: str) -> None:
        """Freeze first where possible, so that nothing forks away; then kill, then thaw, so that it can die."""
        if not self.exists(path):
            return
        can_freeze = "freezer" in self._by_controller
        if can_freeze:
            try:
                self.freeze(path)
            except KernelError as error:
                if error.errno not in (errno.EBUSY, errno.ENOENT):
                    raise
        try:
            for pid in self.processes(path):
                self._tree.kill(pid)
        finally:
            if can_freeze and self._tree.exists(self._freezer(path)):
                self.thaw(path)

    def remove(self, path: str) -> None:
        check_path(path)
        for hierarchy in self._hierarchies:
            remove_tree(self._tree, f"{hierarchy.root}/{path}")

    def prune(self, path: str) -> None:
        check_path(path)
        for hierarchy in self._hierarchies:
            remove_if_empty(self._tree, f"{hierarchy.root}/{path}")

    def paths_of(self, pid: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self._tree.read(f"/proc/{pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                if (hierarchy := self._by_controller.get(controller)) is not None:
                    found[controller] = hierarchy.mountpoint + (path if path != "/" else "")
        return found

    def views(self, path: str) -> list[View]:
        check_path(path)
        views = []
        for hierarchy in self._hierarchies:
            name = os.path.basename(hierarchy.mountpoint)
            links = tuple(c for c in hierarchy.controllers if len(hierarchy.controllers) > 1 and c != name)
            options = tuple(hierarchy.controllers)
            if options[0].startswith("name="):
                options = ("none", *options)  # a hierarchy without controllers must say so to be mounted anew
            views.append(View(name, "cgroup", options, f"{hierarchy.root}/{path}", links))
        return views
