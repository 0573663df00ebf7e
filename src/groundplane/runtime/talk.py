"""What the two stages of a launch say to each other, and how.

`outside` is the caller, in the host's namespaces; `inside` is the new process, PID 1 where there is a new PID
namespace. They are joined by a socket pair of sequenced packets: one message each way is one write and one read.

      outside                                                  inside
        │                                                        │
        │ clone3(namespaces) ───────────────────────────────────▶│ closes what it does not need
        │                                                        │
        │ writes uid_map, gid_map                                │   (only with a new user namespace)
        │ ── mapped ────────────────────────────────────────────▶│ becomes user 0 there
        │                                                        │
        │ makes a network namespace meanwhile                    │ joins namespaces, prepares the root, mounts
        │ ── network + a descriptor of it ──────────────────────▶│ enters it (only where it is to have a new one)
        │                                                        │
        │ makes its v1 cgroups and opens them                    │ mounts what is left to mount meanwhile
        │ ── enter PATHS + descriptors of their `tasks` ────────▶│ moves itself there (v1 only; in v2 it was born)
        │                                                        │
        │◀──────────────────────────────────────────────── hooks │   (only if there are such hooks)
        │ runs prestart and createRuntime hooks                  │
        │ ── go ────────────────────────────────────────────────▶│ runs createContainer hooks
        │                                                        │ pivot_root, devices, masks, sysctls …
        │◀────────────────────────── console + a pty's master fd │   (only with a terminal)
        │◀─────────────────────────────────────────────── limits │   (only with rlimits or oom_score_adj)
        │ sets them                                              │
        │ ── go ────────────────────────────────────────────────▶│ user, capabilities, seccomp, finds the program
        │◀──────────────────────────────────────────────── ready │
        │                                                        │ waits; at end of file it ends: nobody wants it
        │        … as long as the caller likes …                 │
        │ ── start ─────────────────────────────────────────────▶│ runs startContainer hooks, execve(2)
        │◀────────────────────────────────────────── end of file │ (the socket is close-on-exec)

At any time inside may say `error CODE TEXT` and end instead; outside reads it where it expected something else.
`warning TEXT` may come at any time too, and is collected. Favours for which inside has no right (`stages/favours.py`):

        │◀──────────────────────────────────────── source PATH │   a path that a user namespace's root cannot walk to
        │ ── source + a descriptor of it ──────────────────────▶│
        │◀───────────────────── tree NUMBER + a detached mount │   one of config.json's, whose owners are to be mapped
        │ ── go ────────────────────────────────────────────────▶│
        │◀──────────────────────────────────────── netdevices  │   of the host's, to become the container's
        │ ── go ────────────────────────────────────────────────▶│
        │◀──────────────────────────────── listener DESCRIPTOR │   the seccomp filter is in force and has a listener
        │ takes it (pidfd_getfd) and sends it to its agent       │
        │ ── go ────────────────────────────────────────────────▶│

Where a user namespace is joined, a process between the two enters the namespaces and makes inside there, as outside's
child: it says `born` with a pidfd and ends (`stages/between.py`).

The command line's `create` ends while the container waits. There the last two messages go through two named pipes in
the container's state directory, `exec.fifo` (start) and `exec.reply` (end of file or error), which `start` opens.
Both ends of a wait use read(2) and write(2) only, since the container's seccomp filter may already be in force.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX as _AF_UNIX  # the C module: `socket` costs 3 ms at import
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)

LIMIT = 32768  # bytes of one message; an error's text is cut to it
_ROOM = CMSG_SPACE(4 * 64)  # for descriptors: a host has not as many v1 hierarchies


class Gone(Exception):
    """The other side has closed its end."""


class Talk:
    """One side of the conversation: descriptors to read from and write to, which may be the same socket."""

    __slots__ = ("read_fd", "write_fd")

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd

    def say(self, word: str, text: str = "") -> None:
        """Send one message; that nobody listens any more is found out at the next `hear`."""
        try:
            os.write(self.write_fd, f"{word} {text}".encode(errors="surrogateescape")[:LIMIT])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def hear(self) -> tuple[str, str]:
        """Wait for one message: its word and its text. Raises Gone."""
        try:
            data = os.read(self.read_fd, LIMIT)
        except ConnectionResetError:
            # The other side ended with a message of ours unread. The kernel says so once, before it hands out what the
            # other side had sent, which may be the reason why it ended (unix(7), ECONNRESET).
            data = os.read(self.read_fd, LIMIT)
        if not data:
            raise Gone
        word, _, text = data.decode(errors="surrogateescape").partition(" ")
        return word, text

    def say_with_fd(self, word: str, *fds: int, text: str = "") -> None:
        """Send one message with descriptors, as `say`. SCM_RIGHTS, unix(7)."""
        data = b"".join(fd.to_bytes(4, "little") for fd in fds)
        endpoint = _socket(self.write_fd)
        try:
            endpoint.sendmsg([f"{word} {text}".encode()], [(SOL_SOCKET, SCM_RIGHTS, data)])
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            endpoint.detach()

    def hear_with_fds(self) -> tuple[str, str, list[int]]:
        """As `hear`, with the descriptors that came along. Raises Gone."""
        endpoint = _socket(self.read_fd)
        try:
            try:
                data, ancillary, _, _ = endpoint.recvmsg(LIMIT, _ROOM, MSG_CMSG_CLOEXEC)
            except ConnectionResetError:  # as in `hear`
                data, ancillary, _, _ = endpoint.recvmsg(LIMIT, _ROOM, MSG_CMSG_CLOEXEC)
        finally:
            endpoint.detach()
        if not data:
            raise Gone
        fds = []
        for level, kind, payload in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                fds += [int.from_bytes(payload[at : at + 4], "little") for at in range(0, len(payload) - 3, 4)]
        word, _, text = data.decode(errors="surrogateescape").partition(" ")
        return word, text, fds

    def hear_with_fd(self) -> tuple[str, str, int]:
        """As `hear`, with the one descriptor that came along, or -1. Raises Gone."""
        word, text, fds = self.hear_with_fds()
        return word, text, fds[0] if fds else -1

    def close(self) -> None:
        for fd in {self.read_fd, self.write_fd}:
            if fd >= 0:
                os.close(fd)
        self.read_fd = self.write_fd = -1


def _socket(fd: int) -> socket:
    """One of a `pair` as a socket object, to be detached again. All that it is, is said, lest Python ask."""
    return socket(_AF_UNIX, SOCK_SEQPACKET, 0, fd)


def pair() -> tuple[Talk, Talk]:
    """The two sides, on one socket pair."""
    a, b = socketpair(_AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    one, other = a.detach(), b.detach()
    return Talk(one, one), Talk(other, other)


def send_fd(path: str, fd: int) -> None:
    """Hand a descriptor to whoever listens on the unix socket `path` (runc's --console-socket). Raises OSError."""
    endpoint = socket(_AF_UNIX)
    try:
        endpoint.connect(path)
        endpoint.sendmsg([b"/dev/ptmx"], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
    finally:
        endpoint.close()
