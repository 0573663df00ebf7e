"""32-bit x86's older doors to sockets and System V IPC: one call (`socketcall`, `ipc`) whose first argument says which.

A rule for `socket` must hold for both doors, or a 32-bit program walks round it. The real arguments lie in memory
there, where a filter cannot look; so a rule that compares arguments is applied through the old door without them if it
refuses, and not at all if it allows. (libseccomp does the same for rules without comparisons, and refuses others.)
"""

from __future__ import annotations

from groundplane.kernel.seccomp import filter as f

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# linux/net.h, in order from 1
_SOCKET_CALLS = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown "
    "setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
)
_SOCKETCALL = {name: number for number, name in enumerate(_SOCKET_CALLS.split(), start=1)}
# linux/ipc.h
_IPC = {
    "semop": 1,
    "semget": 2,
    "semctl": 3,
    "semtimedop": 4,
    "msgsnd": 11,
    "msgrcv": 12,
    "msgget": 13,
    "msgctl": 14,
    "shmat": 21,
    "shmdt": 22,
    "shmget": 23,
    "shmctl": 24,
}


def also(
    name: str, action: int, compares: tuple[f.Compare, ...], numbers: Mapping[str, int]
) -> list[tuple[int, tuple[f.Compare, ...]]]:
    """Where else a rule for `name` must apply: (number of the multiplexing call, comparisons)."""
    if compares and action in (f.ALLOW, f.LOG):
        return []
    for call, table in (("socketcall", _SOCKETCALL), ("ipc", _IPC)):
        if name in table:
            return [(numbers[call], (f.Compare(0, f.EQ, table[name]),))]
    return []
