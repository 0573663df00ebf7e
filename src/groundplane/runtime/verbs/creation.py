"""Parts of creating a container or a process: its bundle, its cgroup, its state, and what others wait for."""

from __future__ import annotations

import errno
import os
import time

from groundplane.base.clock import rfc3339_nano
from groundplane.base.errors import GroundError
from groundplane.kernel.cgroups import registry
from groundplane.kernel.errors import KernelError
from groundplane.runtime.arguments import whole_number
from groundplane.runtime.documents import read_config_file
from groundplane.runtime.state import Store, has_own_pids, process_start_time
from groundplane.runtime.talk import send_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


class Bundle:
    """A bundle directory and its document, checked for what the options say about terminals."""

    __slots__ = ("config", "console_socket", "directory", "keep", "terminal", "text")

    def __init__(self, given: Parsed, *, detach: bool) -> None:
        self.directory = os.path.abspath(given.value("bundle", "."))
        if not os.path.isdir(self.directory):
            raise GroundError(f"chdir {given.value('bundle')}: no such file or directory")
        self.config, self.text = read_config_file(self.directory)
        self.terminal = _is_terminal(self.config.get("process"))
        self.console_socket = given.value("console-socket")
        check_console(self.console_socket, terminal=self.terminal, detach=detach)
        self.keep = preserved(given, self.config.get("process"))


def _is_terminal(process: Any) -> bool:
    return isinstance(process, dict) and process.get("terminal") is True


def check_console(socket: str, *, terminal: bool, detach: bool) -> None:
    """Who gets the terminal's master must be clear. Raises GroundError, in runc's words."""
    if detach and terminal and not socket:
        raise GroundError("cannot allocate tty if runc will detach without setting console socket")
    if socket and not (detach and terminal):
        raise GroundError("cannot use console socket if runc will not detach or allocate tty")


def preserved(given: Parsed, process: Any) -> list[int]:
    """The descriptors from 3 on that the container gets: those of socket activation, then --preserve-fds of them.

    With socket activation (sd_listen_fds(3)) the process is told, as runc does.
    """
    listen = os.environ.get("LISTEN_FDS", "")
    count = max(whole_number(listen) or 0, 0)
    if count and isinstance(process, dict):
        process["env"] = [*(process.get("env") or ()), f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    keep = list(range(3, 3 + count + given.number("preserve-fds")))
    for fd in keep:
        try:
            os.fstat(fd)
        except OSError:
            raise GroundError(f"file descriptor {fd} is to be preserved and is not open") from None
    return keep


def cgroup_path(config: dict[str, Any], id: str) -> str:
    """`linux.cgroupsPath` below each hierarchy's root; the id where it is not given.

    A relative path starts there, too (config-linux.md leaves the place to the runtime), and `..` leads nowhere above
    it, as with runc.
    """
    return os.path.normpath(f"/{_given_path(config)}").strip("/") or id


def _given_path(config: dict[str, Any]) -> str:
    linux = config.get("linux")
    given = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    return given if isinstance(given, str) else ""


def choose_cgroup(globals: Globals, config: dict[str, Any], id: str) -> str:
    """The container's cgroup; empty where a rootless one may have none and needs none. Raises GroundError."""
    if globals.systemd:
        if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
            raise GroundError("systemd not running on this host, cannot use systemd cgroups manager")
        raise GroundError("the systemd cgroups manager is not offered: this runtime makes cgroups itself")
    path = cgroup_path(config, id)
    if not globals.rootless or _given_path(config):
        return path
    groups = registry.detect()
    try:
        groups.create(path)
        groups.remove(path)  # only to see whether we may; the launch makes it
        return path
    except KernelError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    resources = (config.get("linux") or {}).get("resources") or {}
    for part, limits in resources.items():
        if limits and part != "devices":
            raise GroundError(f"cannot set {part} limit: container could not join or create cgroup")
    globals.log.debug(f"no right to make cgroups: {id} stays in ours")
    if not has_own_pids(config):
        problem = "no cgroup and no private pid namespace: the container's processes cannot all be killed"
        globals.log.warning(f"{problem}. Such configuration is strongly discouraged")  # runc's words
    return ""


def store_container(store: Store, directory: str, id: str, bundle: Bundle, cgroup: str, pid: int) -> None:
    """Write the container's state; `pid` 0 before there is a process."""
    fields: dict[str, str | int] = {
        "id": id,
        "pid": pid,
        "startTime": (pid and process_start_time(pid)) or 0,
        "bundle": bundle.directory,
        "rootfs": os.path.normpath(os.path.join(bundle.directory, _root_path(bundle.config))),
        "cgroup": cgroup,
        "created": rfc3339_nano(time.time_ns()),
        "owner": os.getuid(),
    }
    store.save(directory, fields, bundle.text)


def _root_path(config: dict[str, Any]) -> str:
    """`root.path` of a document that has not been read yet."""
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    return path if isinstance(path, str) else ""


def write_pid_file(path: str, pid: int) -> None:
    """The number alone, renamed into place, so that no reader sees half of it."""
    if not path:
        return
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(temporary, path)
    except OSError as error:
        raise GroundError(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error


def hand_over_console(path: str, console_fd: int) -> None:
    """Send the terminal's master to whoever listens on the console socket. Raises GroundError."""
    if console_fd < 0:
        return
    try:
        send_fd(path, console_fd)
    except OSError as error:
        raise GroundError(f"dial unix {path}: connect: {os.strerror(error.errno or 0).lower()}") from error
    os.close(console_fd)


def hand_over_pidfd(path: str, pidfd: int) -> None:
    """Send a descriptor of the process to whoever listens on the socket (`--pidfd-socket`). Raises GroundError."""
    if not path:
        return
    try:
        send_fd(path, pidfd)
    except OSError as error:
        raise GroundError(f"dial unix {path}: connect: {os.strerror(error.errno or 0).lower()}") from error


def warn(globals: Globals, sentences: tuple[str, ...] | list[str]) -> None:
    for sentence in sentences:
        globals.log.warning(sentence)
