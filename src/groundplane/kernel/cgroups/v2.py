"""Version 2: one hierarchy for everything (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno

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
from groundplane.kernel.cgroups.v2_limits import grant
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundplane.kernel.cgroups.oom import OomWatch
    from groundplane.kernel.cgroups.tree import Tree
    from groundplane.kernel.cgroups.usage import Usage

# config-linux.md, "Cgroup ownership": where the kernel does not list them.
_DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class V2:
    """The driver of a host whose controllers are all v2; `hybrid.py` also uses it for the tree beside v1's."""

    layout = "v2"

    def __init__(self, root: str, tree: Tree | None = None, mountpoint: str = "") -> None:
        self._root = root
        self._mountpoint = mountpoint or root
        self._tree: Tree = tree or HostTree()

    def _directory(self, path: str) -> str:
        return f"{self._root}/{check_path(path)}"

    def create(self, path: str) -> None:
        if self._tree.exists(self._directory(path)):
            return

        def make(made: list[str]) -> None:
            directory = self._root
            for name in path.split("/"):
                self._enable_controllers(directory)
                directory = f"{directory}/{name}"
                if self._tree.make(directory):
                    made.append(directory)

        make_all(make, self._tree)

    def create_unified(self, path: str) -> None:
        self.create(path)

    def _enable_controllers(self, directory: str) -> None:
        """Give the groups below `directory` the controllers that it has itself."""
        available = set(self._tree.read(f"{directory}/cgroup.controllers").split())
        missing = available - set(self._tree.read(f"{directory}/cgroup.subtree_control").split())
        if not missing:
            return
        try:
            self._tree.write(f"{directory}/cgroup.subtree_control", " ".join(f"+{c}" for c in sorted(missing)))
        except KernelError as error:
            if error.errno == errno.EBUSY:
                # cgroup-v2.rst, "No Internal Process Constraint".
                hint = "processes live in this group itself; controllers can be given on only by one without any"
                raise KernelError("write", error.errno, f"{directory}/cgroup.subtree_control", hint) from None
            for controller in sorted(missing):  # one of them may be refused (cpu with real-time tasks): take the rest
                try:
                    self._tree.write(f"{directory}/cgroup.subtree_control", f"+{controller}")
                except KernelError as refused:
                    if refused.errno not in (errno.EINVAL, errno.EBUSY, errno.EOPNOTSUPP):
                        raise

    def controllers(self) -> set[str]:
        """The controllers of this tree, by version 1's names."""
        available = set(self._tree.read(f"{self._root}/cgroup.controllers").split())
        return {"blkio" if name == "io" else name for name in available}

    def exists(self, path: str) -> bool:
        return self._tree.exists(self._directory(path))

    def set(self, path: str, limits: Limits) -> list[str]:
        directory = self._directory(path)
        degraded: list[str] = []
        grant(self._tree, directory, limits, degraded)
        if limits.devices is not None:
            from groundplane.kernel.cgroups.device_program import attach_rules  # late: v1 hosts never need it

            attach_rules(directory, limits.devices)
        return degraded

    def entrance(self, path: str, *, below: Mapping[str, str] | None = None, beside: int = 0) -> Entrance:
        directory = self._directory(path)
        for controller, name in (below or {}).items():
            if controller:
                raise KernelError("attach", errno.EINVAL, path, f"unknown controller {controller}")
            directory += f"/{check_path(name)}" if name else ""
        if beside and below is None and self._tree.read(f"{directory}/cgroup.subtree_control").strip():
            directory = self.paths_of(beside)[""]  # an init that runs containers itself has moved below
        return Entrance(directory, [])

    def delegate(self, path: str, uid: int) -> None:
        """The directory and the files that the kernel names; nothing that grants, so its limits stay ours."""
        directory = self._directory(path)
        files: Sequence[str] = _DELEGATED
        if self._tree.exists("/sys/kernel/cgroup/delegate"):  # Linux ≥ 4.15
            files = self._tree.read("/sys/kernel/cgroup/delegate").split()
        self._tree.give(directory, uid)
        for file in files:
            if self._tree.exists(f"{directory}/{file}"):  # not all are there in every group (memory.oom.group …)
                self._tree.give(f"{directory}/{file}", uid)

    def processes(self, path: str) -> list[int]:
        return sorted(processes_below(self._tree, self._directory(path)))

    def _value(self, path: str, file: str) -> str | None:
        name = f"{self._directory(path)}/{file}"
        return self._tree.read(name).strip() if self._tree.exists(name) else None

    def stats(self, path: str) -> Stats:
        cpu = self._value(path, "cpu.stat")
        if cpu is None:
            raise KernelError("read", errno.ENOENT, self._directory(path))
        used = self._value(path, "memory.current")
        inactive = flat_keyed(self._value(path, "memory.stat") or "").get("inactive_file", 0)
        limit = self._value(path, "memory.max")
        pids = self._value(path, "pids.current")
        return Stats(
            cpu_ns=flat_keyed(cpu).get("usage_usec", 0) * 1000,
            memory=None if used is None else max(int(used) - inactive, 0),
            memory_limit=int(limit) if limit is not None and limit != "max" else None,
            pids=None if pids is None else int(pids),
        )

    def usage(self, path: str) -> Usage:
        from groundplane.kernel.cgroups.v2_usage import usage_of  # late: only `events` looks that closely

        return usage_of(self._tree, self._directory(path))

    def watch_oom(self, path: str) -> OomWatch:
        from groundplane.kernel.cgroups.oom import V2Watch  # late, as above

        return V2Watch(self._directory(path))

    def oom_count(self, path: str) -> int:
        return flat_keyed(self._value(path, "memory.events") or "").get("oom_kill", 0)

    def freeze(self, path: str) -> None:
        self._tree.write(f"{self._directory(path)}/cgroup.freeze", "1")  # Linux ≥ 5.2
        for attempt in range(1000):
            if flat_keyed(self._value(path, "cgroup.events") or "").get("frozen"):
                return
            self._tree.pause(0.0001 if attempt < 50 else 0.002)
        self.thaw(path)
        raise KernelError("freeze", errno.EBUSY, path, "a process of it does not stop")

    def thaw(self, path: str) -> None:
        self._tree.write(f"{self._directory(path)}/cgroup.freeze", "0")

    def frozen(self, path: str) -> bool:
        return self._value(path, "cgroup.freeze") == "1"

    def kill(self, path: str) -> None:
        directory = self._directory(path)
        if not self._tree.exists(directory):
            return
        if self._tree.exists(f"{directory}/cgroup.kill"):  # Linux ≥ 5.14: atomic, forks included
            self._tree.write(f"{directory}/cgroup.kill", "1")
            return
        raise KernelError("kill", errno.ENOSYS, path, "this kernel has no cgroup.kill (Linux 5.14 is needed)")

    def remove(self, path: str) -> None:
        remove_tree(self._tree, self._directory(path))

    def prune(self, path: str) -> None:
        remove_if_empty(self._tree, self._directory(path))

    def paths_of(self, pid: int) -> dict[str, str]:
        for line in self._tree.read(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::"):
                path = line[3:]
                return {"": self._mountpoint + (path if path != "/" else "")}
        return {}

    def views(self, path: str) -> list[View]:
        return [View("", "cgroup2", (), self._directory(path), ())]
