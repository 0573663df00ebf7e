"""Doing things inside another network namespace of this host.

A network namespace belongs to a *thread* (`task_struct.nsproxy`), not to a process: setns(2) with CLONE_NEWNET moves
only the thread that calls it. A socket remembers for ever the namespace in which it was made, and `/proc/sys/net`
shows the namespace of the thread that opens a file in it. So a short-lived thread enters the namespace, does its work
(or only opens a socket and hands it out) and ends: the daemon's own threads never leave home, and no process is
forked. A thread costs about 60 microseconds; a socket that is opened in it can be used afterwards by any thread.
"""

from __future__ import annotations

import os
import threading

from groundplane.kernel.calls.process import CLONE_NEWNET, setns, unshare
from groundplane.kernel.netlink.channel import ROUTE, Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


def inside(path: str, work: Callable[[], T]) -> T:
    """What `work()` gives, called in a thread inside the namespace pinned at `path`. Raises what it raises."""

    def enter_and_work() -> T:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, CLONE_NEWNET)
        finally:
            os.close(fd)
        return work()

    return _in_thread(enter_and_work)


def inside_new(work: Callable[[], T]) -> T:
    """What `work()` gives inside a fresh namespace, which ends with the thread unless something holds it."""

    def leave_and_work() -> T:
        unshare(CLONE_NEWNET)
        return work()

    return _in_thread(leave_and_work)


def channel_in(path: str, family: int = ROUTE) -> Channel:
    """A netlink channel of the namespace at `path`, to be used and closed by the caller."""
    return inside(path, lambda: Channel(family))


def _in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    problems: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as problem:  # noqa: BLE001 because it is raised again, in the calling thread
            problems.append(problem)

    thread = threading.Thread(target=body, name="netns", daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return results[0]
