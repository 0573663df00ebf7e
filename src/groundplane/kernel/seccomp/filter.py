"""What a filter says, in plain values: actions, comparisons of arguments, rules. seccomp(2)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/seccomp.h; the low 16 bits carry data (the errno, the tracer's message).
KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
USER_NOTIF = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

# Comparisons of a 64-bit argument.
NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(7)

ENOSYS = 38


class Compare:
    """Argument `index` (0-5) compared with `value`; for MASKED_EQ: `argument & value == datum`."""

    __slots__ = ("datum", "index", "op", "value")

    def __init__(self, index: int, op: int, value: int, datum: int = 0) -> None:
        self.index = index
        self.op = op
        self.value = value
        self.datum = datum


class Rule:
    """Do `action` for the system calls `names` where all of `compares` hold; the first rule that holds decides."""

    __slots__ = ("action", "compares", "names")

    def __init__(self, names: Sequence[str], action: int, compares: Sequence[Compare] = ()) -> None:
        self.names = names
        self.action = action
        self.compares = compares


class Filter:
    """Rules for some architectures (names of `tables/`; `x32` together with `x86_64`), and what else happens.

    Calls of other architectures end the process (KILL_THREAD, as libseccomp's default for them). `newer` is the action
    for calls with numbers above all that the rules name, or None for the default action: runc answers ENOSYS there, so
    that a libc which tries a new call falls back to the old one instead of believing EPERM.
    """

    __slots__ = ("architectures", "default", "newer", "rules")

    def __init__(
        self, architectures: Sequence[str], default: int, rules: Sequence[Rule], newer: int | None = None
    ) -> None:
        self.architectures = architectures
        self.default = default
        self.rules = rules
        self.newer = newer
