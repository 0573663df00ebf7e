"""Namespaces, as far as outside has to do with them: those that a child starts in, a new network, another's."""

from __future__ import annotations

import os

from groundplane.kernel.calls import process as p
from groundplane.kernel.calls.files import write_text
from groundplane.kernel.calls.network import loopback_up
from groundplane.kernel.errors import KernelError
from groundplane.runtime.failures import LaunchError
from groundplane.runtime.steps.namespaces import FLAGS, PROC_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def choose_for_children(chosen: Sequence[tuple[str, str]], offsets: Sequence[str]) -> list[tuple[int, int]]:
    """Enter the namespaces that our next child shall start in; returns (descriptor, flag) to go back.

    setns(2) and unshare(2) into PID and time namespaces concern children only (pid_namespaces(7), time_namespaces(7)).
    The others are entered here, for the length of one clone, when the child gets a new user namespace, from inside
    which it could not enter them any more.
    """
    restore: list[tuple[int, int]] = []
    try:
        for kind, path in chosen:
            own = _open(f"/proc/self/ns/{PROC_NAMES.get(kind, kind)}")
            try:
                _enter(kind, path)
            except BaseException:
                os.close(own)  # we are still there, and may lack the right to go where we are
                raise
            restore.append((own, FLAGS[kind]))
            for line in () if path else offsets:  # before the first process enters it (time_namespaces(7))
                write_text("/proc/self/timens_offsets", line)
    except BaseException:
        restore_ours(restore)
        raise
    return restore


def _enter(kind: str, path: str) -> None:
    """A namespace by its path, or a new one. Raises KernelError."""
    if not path:
        try:
            p.unshare(FLAGS[kind])
        except KernelError as error:
            raise KernelError("unshare", error.errno, f"{kind} namespace") from None
        return
    fd = _open(path)
    try:
        p.setns(fd, FLAGS[kind], path)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, path) from error


def restore_ours(chosen: list[tuple[int, int]]) -> None:
    """Go back to what choose_for_children() left."""
    for fd, flag in chosen:
        p.setns(fd, flag, "our own namespace")
        os.close(fd)


def new_network() -> int:
    """A descriptor of a new network namespace, with its loopback device up as runc has it.

    The kernel needs half a millisecond for one, longer than for all the other namespaces. Made with the clone, inside
    could only begin after it. We are in it ourselves for the moment, because unshare(2) is what makes one.
    """
    own = _open("/proc/self/ns/net")
    try:
        p.unshare(p.CLONE_NEWNET)
        try:
            loopback_up()
            return _open("/proc/self/ns/net")
        finally:
            p.setns(own, p.CLONE_NEWNET, "our own network namespace")
    finally:
        os.close(own)


def namespaces_of(pid: int) -> tuple[int, list[tuple[str, str]]]:
    """In which namespaces `pid` differs from us, as flags, and (type, path) of those that a parent must choose."""
    flags = 0
    parent = []
    for kind, flag in FLAGS.items():
        theirs = f"/proc/{pid}/ns/{PROC_NAMES.get(kind, kind)}"
        try:
            if os.path.samestat(os.stat(theirs), os.stat(f"/proc/self/ns/{PROC_NAMES.get(kind, kind)}")):
                continue
        except FileNotFoundError:
            if kind == "time":  # Linux ≥ 5.6
                continue
            raise LaunchError(f"process {pid} does not exist") from None
        except PermissionError:
            # ptrace(2), "Ptrace access mode checking": before its program runs, init still counts as a process of the
            # namespace in which the caller was, and who is not root there may not look into it.
            raise LaunchError(
                f"no right to enter the namespaces of process {pid} (before start only root has)"
            ) from None
        flags |= flag
        if kind in ("pid", "time"):
            parent.append((kind, theirs))
    return flags, parent
