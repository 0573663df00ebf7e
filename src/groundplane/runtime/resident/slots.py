"""Descriptors of a supervisor at fixed numbers, so that everything that knows them exists before the supervisor does.

The zygote builds one Supervisor with its channels, handlers and poll set, over these numbers. A forked supervisor only
gets its descriptors there and waits in poll(2): it makes no object, so it owns hardly a page.

Even moving a descriptor costs pages, so they come to the right numbers by themselves: those of a message get the lowest
free numbers in their order (unix(7), SCM_RIGHTS; open(2)). All below are occupied when it comes, these are not.
"""

from __future__ import annotations

import os

# With the launcher's message, in this order; what a container has not is /dev/null.
LISTENER = 10
PIDFD = 11
STDOUT = 12
STDERR = 13
INPUT = 14  # only with an open standard input or a terminal
MASTER = 15  # only with a terminal

ZYGOTE = 16  # the zygote's socket to the spawner; closed in supervisors

# With the zygote's message, in this order; attached clients follow, or, where another supervisor is resumed, what the
# spawner kept; then all but the first are /dev/null.
SPAWNER = 17
LAUNCHER = 18
OTHER_END = 19  # the launcher's, of the same socket
GUARD = 20  # the lock that says that a launcher works (`orders.py`)
CONTROL = 21  # the engine that gave the order
END = 22

_LOWEST = 3  # behind the standard streams
_LAST = 1 << 30


def fill(slot: int, fd: int) -> None:
    """Move a descriptor into its slot."""
    if fd != slot:
        os.dup2(fd, slot, inheritable=False)
        os.close(fd)


def reserve(taken: int) -> None:
    """Put something at each number but `taken`, so that no other descriptor gets it."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for slot in range(_LOWEST, END):
        if slot not in (taken, null):
            os.dup2(null, slot, inheritable=False)


def await_order() -> None:
    """Let go of what came with an order, so that the next one's descriptors get the same numbers."""
    os.closerange(SPAWNER, _LAST)


def await_launcher() -> None:
    """Close what is the launcher's and the zygote's, and make room for what the launcher hands over."""
    os.closerange(LISTENER, ZYGOTE + 1)
    os.closerange(OTHER_END, CONTROL)
