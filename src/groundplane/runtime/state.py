"""The command line's memory of its containers: one directory each below `--root`, as runc keeps it.

    ROOT/ID/state.json   what it is: pid, start time, bundle, cgroup, the whole config
    ROOT/ID/exec.fifo    present until `start`: the waiting init reads `start` from it
    ROOT/ID/exec.reply   how init answers: end of file (the program runs) or an error

The status is never stored; it follows from the process: none yet (pid 0) is `creating`; no such process, or one with
another start time, is `stopped`; with exec.fifo `created`; else `running`, or `paused` where the cgroup is frozen. The
state is written before the launch and again after it, so that what a killed `create` left can be deleted. The directory
itself is the lock that makes an id unique (mkdir(2)); `locked` serializes commands on one container.
"""

from __future__ import annotations

import fcntl
import os

from groundplane.base.errors import ConflictError, GroundError, NotFoundError
from groundplane.base.quickjson import quoted_ascii
from groundplane.runtime.documents import read_json, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ID_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")

_MEMBERS = {
    "id": str,
    "pid": int,
    "startTime": int,
    "bundle": str,
    "rootfs": str,
    "cgroup": str,
    "created": str,
    "owner": int,
    "config": dict,
}


class Container:
    """One container's stored state."""

    __slots__ = ("bundle", "cgroup", "config", "created", "directory", "id", "owner", "pid", "rootfs", "start_time")

    def __init__(self, directory: str, document: dict[str, Any]) -> None:
        for name, kind in _MEMBERS.items():
            if type(document[name]) is not kind:
                raise TypeError(name)
        self.directory = directory
        self.id: str = document["id"]
        self.pid: int = document["pid"]
        self.start_time: int = document["startTime"]
        self.bundle: str = document["bundle"]
        self.rootfs: str = document["rootfs"]
        self.cgroup: str = document["cgroup"]
        self.created: str = document["created"]
        self.owner: int = document["owner"]
        self.config: dict[str, Any] = document["config"]

    def status(self) -> str:
        """`creating`, `created`, `running` or `stopped` now; whether a running one is paused is the cgroup's to say."""
        if self.pid == 0:
            return "creating"
        if process_start_time(self.pid) != self.start_time:
            return "stopped"
        return "created" if os.path.exists(f"{self.directory}/exec.fifo") else "running"


def process_start_time(pid: int) -> int | None:
    """A process's start in clock ticks since boot, which with the pid names it for good; None for none or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])  # proc_pid_stat(5), fields 3 and 22


class Store:
    """All containers below one root directory."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, id: str) -> str:
        """Where a container's files are. Raises GroundError for an id that is none."""
        if not id:
            raise GroundError("container id cannot be empty")
        if set(id) - _ID_CHARACTERS or id in (".", ".."):
            raise GroundError("invalid container ID format")
        return f"{self.root}/{id}"

    def reserve(self, id: str) -> str:
        """Make the directory of a new container. Raises ConflictError."""
        directory = self.directory(id)
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            os.mkdir(directory, 0o711)
        except FileExistsError:
            raise ConflictError("container with given ID already exists") from None
        except OSError as error:
            raise GroundError(f"mkdir {directory}: {os.strerror(error.errno or 0).lower()}") from error
        return directory

    def load(self, id: str) -> Container:
        """Raises NotFoundError."""
        directory = self.directory(id)
        try:
            return Container(directory, read_json(f"{directory}/state.json"))
        except FileNotFoundError:
            raise NotFoundError("container does not exist") from None
        except (KeyError, TypeError) as error:
            raise GroundError(f"{directory}/state.json: written by another program: {error}") from error

    def save(self, directory: str, fields: dict[str, str | int], config: str) -> None:
        """Write a container's state, a whole file or none; `config` is the document as the bundle has it."""
        pairs = [f"{quoted_ascii(k)}:{quoted_ascii(v) if isinstance(v, str) else v}" for k, v in fields.items()]
        write_text(f"{directory}/state.json", f'{{{",".join(pairs)},"config":{config.strip()}}}')

    def keep(self, container: Container) -> None:
        """Write a container's state again, with a config that has changed (`update`)."""
        import json  # late: the cold path of the other verbs does without

        names = ("id", "pid", "bundle", "rootfs", "cgroup", "created", "owner")
        fields = {name: getattr(container, name) for name in names}
        self.save(container.directory, {**fields, "startTime": container.start_time}, json.dumps(container.config))

    def ids(self) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self.root) if e.is_dir())
        except FileNotFoundError:
            return []

    def remove(self, id: str) -> None:
        """Remove the container's directory; idempotent."""
        directory = self.directory(id)
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        for name in names:
            if name == "notify":  # a directory, see notify.py
                for inner in os.listdir(f"{directory}/{name}"):
                    os.unlink(f"{directory}/{name}/{inner}")
                os.rmdir(f"{directory}/{name}")
            else:
                os.unlink(f"{directory}/{name}")
        os.rmdir(directory)


class locked:
    """Hold a container's directory for the length of a command that changes it. flock(2)."""

    __slots__ = ("_directory", "_fd")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._fd = -1

    def __enter__(self) -> None:
        try:
            self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError("container does not exist") from None
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)


def has_own_pids(config: dict[str, Any]) -> bool:
    """Whether the container has a PID namespace of its own."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(n.get("type") == "pid" and not n.get("path") for n in namespaces)
