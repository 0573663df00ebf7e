"""From a filter's rules to a classic BPF program.

The program's shape: load the architecture, jump to its part, load the call's number, and find it by bisection over
*ranges* of numbers that share an outcome. A profile that allows 350 calls of 470 falls apart into some 80 ranges, so
the answer costs about seven comparisons and the program about 300 instructions, where a list of all names would need a
thousand and hundreds of steps. A call whose rules look at arguments has a short straight piece of its own as a leaf.

Classic BPF has forward jumps only: conditional ones of up to 255 instructions, `ja` of any length
(Documentation/networking/filter.rst). Pieces are built from the end towards the front, so each knows its length.
"""

from __future__ import annotations

import struct

from groundplane.kernel.seccomp import filter as f
from groundplane.kernel.seccomp import multiplexed
from groundplane.kernel.seccomp.tables import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/audit.h
AUDIT_ARCH = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_NARROW = ("x86", "arm")  # their arguments have 32 bits
# Calls of 32-bit Arm's own (cacheflush, set_tls) lie far above the others, so they say nothing about what is new.
_ARM_OWN = 0xF0000
X32_BIT = 0x40000000

# linux/bpf_common.h
_LD_ABS = 0x20
_JA = 0x05
_JEQ = 0x15
_JGT = 0x25
_JGE = 0x35
_AND = 0x54
_RET = 0x06
_MAX_JUMP = 255

# struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16

if TYPE_CHECKING:
    Code = list[tuple[int, int, int, int]]  # operation, jump if true, jump if false, constant
    # What happens to a call: an action, or rules (action, comparisons) to try in order before the default.
    Outcome = int | tuple[tuple[int, tuple[f.Compare, ...]], ...]


def compile_filter(rules: f.Filter) -> bytes:
    """The program as an array of `struct sock_filter`. Raises ValueError for an unknown architecture."""
    code: Code = [(_RET, 0, 0, f.KILL_THREAD)]  # an architecture that is not listed
    for name in reversed([a for a in rules.architectures if a != "x32"]):
        if name not in AUDIT_ARCH:
            raise ValueError(f"seccomp: the architecture {name} is not supported")
        ranges = _ranges(rules, name)
        part: Code = [(_LD_ABS, 0, 0, _NUMBER), *_search(ranges, rules.default, wide=name not in _NARROW)]
        # Not this architecture: over its part to the next test.
        code = [(_JEQ, 1, 0, AUDIT_ARCH[name]), (_JA, 0, 0, len(part)), *part, *code]
    code.insert(0, (_LD_ABS, 0, 0, _ARCH))
    if len(code) > 4096:  # BPF_MAXINSNS
        raise ValueError(f"seccomp: the profile needs {len(code)} instructions, the kernel takes 4096")
    return b"".join([struct.pack("=HBBI", *instruction) for instruction in code])


def _ranges(rules: f.Filter, architecture: str) -> list[tuple[int, Outcome]]:
    """(first number, outcome) of each range, ascending, covering all 32-bit numbers; neighbours differ."""
    outcomes = _outcomes(rules, architecture)
    default: Outcome = rules.default
    above = default if rules.newer is None else rules.newer
    points: list[tuple[int, Outcome]] = []
    position = 0
    for number in sorted(outcomes):
        if number > position:
            points.append((position, above if number > _ARM_OWN > position else default))
        points.append((number, outcomes[number]))
        position = number + 1
    points.append((position, above))
    if architecture == "x86_64":
        points = _with_x32(rules, points, above)
    merged: list[tuple[int, Outcome]] = []
    for first, outcome in points:
        if not merged or merged[-1][1] != outcome:
            merged.append((first, outcome))
    return merged


def _with_x32(rules: f.Filter, points: list[tuple[int, Outcome]], above: Outcome) -> list[tuple[int, Outcome]]:
    """x32 calls carry x86-64's architecture and a bit in the number, so they are refused or judged there.

    0xffffffff, a call that a tracer has cancelled, is no x32 call (libseccomp makes the same exception).
    """
    if "x32" not in rules.architectures:
        return [*points, (X32_BIT, f.KILL_THREAD), (0xFFFFFFFF, rules.default)]
    outcomes = _outcomes(rules, "x32")
    position = X32_BIT
    for number in sorted(outcomes):
        if number > position:
            points.append((position, rules.default))
        points.append((number, outcomes[number]))
        position = number + 1
    return [*points, (position, above), (0xFFFFFFFF, rules.default)]


def _outcomes(rules: f.Filter, architecture: str) -> dict[int, Outcome]:
    """Each named call's outcome by number. Names that this architecture does not have are passed over."""
    numbers = load(architecture)
    pending: dict[int, list[tuple[int, tuple[f.Compare, ...]]]] = {}
    for rule in rules.rules:
        compares = tuple(rule.compares)
        for name in rule.names:
            if (number := numbers.get(name)) is not None:
                pending.setdefault(number, []).append((rule.action, compares))
            if architecture == "x86":
                for call, extra in multiplexed.also(name, rule.action, compares, numbers):
                    pending.setdefault(call, []).append((rule.action, extra))
    return {number: _settle(tries, rules.default) for number, tries in pending.items()}


def _settle(tries: list[tuple[int, tuple[f.Compare, ...]]], default: int) -> Outcome:
    """Rules of one call up to the first that always holds; as a plain action where arguments do not matter."""
    kept: list[tuple[int, tuple[f.Compare, ...]]] = []
    for action, compares in tries:
        kept.append((action, compares))
        if not compares:
            break
    if all(action == kept[0][0] for action, _ in kept) and (not kept[-1][1] or kept[0][0] == default):
        return kept[0][0]
    return tuple(kept)


def _search(ranges: Sequence[tuple[int, Outcome]], default: int, *, wide: bool) -> Code:
    """Bisection with the call's number in the accumulator."""
    if len(ranges) == 1:
        return _leaf(ranges[0][1], default, wide=wide)
    middle = len(ranges) // 2
    below = _search(ranges[:middle], default, wide=wide)
    above = _search(ranges[middle:], default, wide=wide)
    start = ranges[middle][0]
    if len(below) <= _MAX_JUMP:
        return [(_JGE, len(below), 0, start), *below, *above]
    return [(_JGE, 0, 1, start), (_JA, 0, 0, len(below)), *below, *above]


def _leaf(outcome: Outcome, default: int, *, wide: bool) -> Code:
    if isinstance(outcome, int):
        return [(_RET, 0, 0, outcome)]
    code: Code = [(_RET, 0, 0, default)]
    for action, compares in reversed(outcome):
        piece: Code = [(_RET, 0, 0, action)]
        for compare in reversed(compares):
            piece = _compare(compare, len(piece), wide=wide) + piece
        code = piece + code
    return code


def _compare(compare: f.Compare, rest: int, *, wide: bool) -> Code:
    """Fall through where it holds, else jump over the `rest` instructions that follow.

    A 64-bit argument is two little-endian words; on 32-bit architectures (`wide` false) the upper one is not looked at,
    because the kernel fills it with zeros and profiles are written for 64 bits.
    """
    low_at = _ARGUMENTS + 8 * compare.index
    low, high = compare.value & 0xFFFFFFFF, compare.value >> 32
    load_low, load_high = (_LD_ABS, 0, 0, low_at), (_LD_ABS, 0, 0, low_at + 4)
    op = compare.op
    if op == f.MASKED_EQ:
        code: Code = [load_low, (_AND, 0, 0, low), (_JEQ, 0, rest, compare.datum & 0xFFFFFFFF)]
        if wide:
            code = [load_high, (_AND, 0, 0, high), (_JEQ, 0, rest + 3, compare.datum >> 32), *code]
        return code
    if op == f.EQ:
        code = [load_low, (_JEQ, 0, rest, low)]
        return [load_high, (_JEQ, 0, rest + 2, high), *code] if wide else code
    if op == f.NE:
        code = [load_low, (_JEQ, rest, 0, low)]
        return [load_high, (_JEQ, 0, 2, high), *code] if wide else code
    # Greater where the upper word is greater, or equal and the lower one greater. LT and LE are GE and GT turned round.
    test, holds = {f.GT: (_JGT, True), f.GE: (_JGE, True), f.LT: (_JGE, False), f.LE: (_JGT, False)}[op]
    code = [load_low, (test, 0, rest, low) if holds else (test, rest, 0, low)]
    if not wide:
        return code
    if holds:
        return [load_high, (_JGT, 3, 0, high), (_JEQ, 0, rest + 2, high), *code]
    return [load_high, (_JGT, rest + 3, 0, high), (_JEQ, 0, 2, high), *code]
