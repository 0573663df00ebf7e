"""Descriptors of a supervisor at fixed numbers, so that everything that knows them exists before the supervisor does.

The zygote builds one Supervisor with its channels, handlers and poll set, over these numbers. A forked supervisor only
puts its own descriptors there (dup2(2)) and waits in poll(2): it makes no object, so it owns hardly a page.
"""

from __future__ import annotations

import os

ZYGOTE = 10  # the zygote's socket to the spawner; closed in supervisors
SPAWNER = 11
CONTROL = 12  # the engine that gave the order
LAUNCHER = 13
LISTENER = 14
PIDFD = 15
STDOUT = 16
STDERR = 17
INPUT = 18  # only with an open standard input or a terminal
MASTER = 19  # only with a terminal
END = 20


def fill(slot: int, fd: int) -> None:
    """Move a descriptor into its slot."""
    if fd != slot:
        os.dup2(fd, slot, inheritable=False)
        os.close(fd)


def reserve(taken: int) -> None:
    """Put something at each number but `taken`, so that no other descriptor gets it."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for slot in range(ZYGOTE, END):
        if slot not in (taken, null):
            os.dup2(null, slot, inheritable=False)
