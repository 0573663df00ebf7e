"""NOTIFY_SOCKET: readiness of a service whose main process is in a container. sd_notify(3); runc's protocol.

The manager's socket is not shown to the container, which could send it anything in our name. The container gets a
socket of its own at /run/notify/notify.sock instead; `start` waits at its other end, passes the line `READY=1` on, and
tells the manager which process is the main one, as only the host's side knows its pid. Nothing else is passed on.
"""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket  # the C module: `socket` costs 3 ms at import

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLACE = "/run/notify"
_NAME = "notify.sock"


def offer(config: dict[str, Any], directory: str) -> None:
    """Make the socket's directory below the container's state, and put it and its variable into the document."""
    source = f"{directory}/notify"
    os.mkdir(source)
    os.chmod(source, 0o755)  # whatever the umask: the container's user must find it
    options = ["bind", "nosuid", "noexec", "nodev", "ro"]
    mount = {"destination": _PLACE, "type": "bind", "source": source, "options": options}
    config["mounts"] = [*(config.get("mounts") or ()), mount]
    process = config.get("process")
    if isinstance(process, dict):
        entries = [entry for entry in process.get("env") or () if not str(entry).startswith("NOTIFY_SOCKET=")]
        process["env"] = [*entries, f"NOTIFY_SOCKET={_PLACE}/{_NAME}"]


class Relay:
    """Our end of the container's socket: open it before the program starts, then `wait`, then `close`."""

    __slots__ = ("_host", "_socket")

    def __init__(self, directory: str, host: str) -> None:
        """`directory` is the container's state, `host` the manager's NOTIFY_SOCKET. Raises GroundError."""
        self._host = host
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        # By its descriptor, because a socket's path is limited to 107 bytes and a state directory's is not.
        place = os.open(f"{directory}/notify", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{place}/{_NAME}"
            self._socket.bind(path)
            os.chmod(path, 0o777)
        except OSError as error:
            raise GroundError(f"bind {directory}/notify/{_NAME}: {os.strerror(error.errno or 0).lower()}") from error
        finally:
            os.close(place)

    def wait(self, pidfd: int, main_pid: int) -> None:
        """Until the container says that it is ready, or ends. `main_pid` 0: the manager is not told a main process."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._socket.fileno() not in ready:
                return  # it has ended
            lines = self._socket.recv(4096).split(b"\n")
            told = next((line for line in lines if line.startswith(b"READY=")), b"")
            if told:
                self._tell(told + b"\n" + (b"MAINPID=%d\n" % main_pid if main_pid else b""))
                return

    def _tell(self, text: bytes) -> None:
        address = "\0" + self._host[1:] if self._host.startswith("@") else self._host  # unix(7): abstract names
        endpoint = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            endpoint.sendto(text, address)
        except OSError as error:
            raise GroundError(f"NOTIFY_SOCKET {self._host}: {os.strerror(error.errno or 0).lower()}") from error
        finally:
            endpoint.close()

    def wait_beside(self, pidfd: int) -> None:
        """The same in a process of its own, for `run` that stays with its container."""
        if os.fork() == 0:
            try:
                self.wait(pidfd, 0)
            finally:
                os._exit(0)

    def close(self) -> None:
        self._socket.close()
