"""Sockets to listen on, with one sentence where that fails: which port or path, and who has it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct

from groundplane.base.errors import GroundError

BACKLOG = 1024
_PATH_LIMIT = 107  # unix(7): sun_path has 108 bytes with its end


class ListenError(GroundError):
    """The address cannot be listened on."""


def tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; host `` or `::` means every address of both families. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    if family == socket.AF_INET6 and not _has_ipv6():
        family, host = socket.AF_INET, "" if host in ("", "::") else host
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host or ("::" if family == socket.AF_INET6 else "0.0.0.0"), port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ListenError(_sentence(host, port, error)) from error
    return listener


def unix(path: str, *, mode: int = 0o600, group: int = -1) -> socket.socket:
    """A listening unix socket at `path` with its mode; a dead one there is replaced, a living one is refused."""
    if len(path.encode()) > _PATH_LIMIT:
        raise ListenError(f"socket {path}: the path is longer than {_PATH_LIMIT} bytes; use a shorter directory")
    if _alive(path):
        raise ListenError(f"socket {path}: another process listens there; stop it first")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        # Linux, net/unix/af_unix.c unix_bind: the file's mode is that of the socket's inode, less the umask. So it is
        # never wider than asked for; chmod then gives what the umask took.
        os.fchmod(listener.fileno(), mode)
        listener.bind(path)
        if group >= 0:
            os.chown(path, -1, group)
        os.chmod(path, mode)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ListenError(f"socket {path}: {error.strerror}") from error
    return listener


def peer_of(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of who opened a unix connection (unix(7), SO_PEERCRED)."""
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


def _alive(path: str) -> bool:
    """Whether somebody listens there."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ListenError(f"socket {path}: a file that is no socket is in the way")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _sentence(host: str, port: int, error: OSError) -> str:
    where = f"port {port}" + (f" of {host}" if host else "")
    if error.errno == errno.EADDRINUSE:
        owner = owner_of(port)
        return f"{where} is in use{f' by {owner}' if owner else ''}; stop that program or choose another port"
    if error.errno == errno.EACCES:
        return f"{where} needs root, or CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this host has no such address"
    return f"{where}: {error.strerror}"


def owner_of(port: int) -> str:
    """`name (pid N)` of the process that listens on a TCP port, as far as /proc shows it (proc(5), net/tcp)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as rows:
            next(rows)
            for row in rows:
                cells = row.split()
                if cells[3] == "0A" and int(cells[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{cells[9]}]")
    if not inodes:
        return ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") in inodes:
                        with open(f"/proc/{pid}/comm") as comm:
                            return f"{comm.read().strip()} (pid {pid})"
    return ""
