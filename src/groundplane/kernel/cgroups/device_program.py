"""Device rules on version 2: an eBPF program that the kernel asks for each open and mknod (cgroup-v2.rst).

Written by hand, because it is short: for each rule, last one first, compare type, access, major and minor, and answer
at the first match. Nothing matches: refused. Linux ≥ 4.15, BPF_PROG_TYPE_CGROUP_DEVICE.
"""

from __future__ import annotations

import os
import struct

from groundplane.kernel.calls.binding import BUFFER, INT, addressof, bind, room
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundplane.kernel.cgroups.contract import DeviceRule

# linux/bpf.h
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}

# Instruction classes and operations (Documentation/bpf/standardization/instruction-set.rst).
_LDX_W = 0x61  # dst = *(u32 *)(src + offset)
_MOV_REG, _MOV_IMM = 0xBC, 0xB4  # 32-bit
_AND_IMM, _RSH_IMM = 0x54, 0x74
_JNE_IMM, _JNE_REG, _JEQ_IMM = 0x56, 0x5E, 0x16
_EXIT = 0x95
_R0, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _SCRATCH = range(7)

_bpf = bind("bpf", INT, BUFFER, INT)


def _instruction(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhI", code, src << 4 | dst, offset, immediate & 0xFFFFFFFF)


def compile_rules(rules: Sequence[DeviceRule]) -> bytes:
    """The program of `rules`, of which later ones win over earlier ones."""
    # struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type), major, minor }
    program = [
        _instruction(_LDX_W, _TYPE, _CONTEXT, 0),
        _instruction(_MOV_REG, _WANTED, _TYPE),
        _instruction(_AND_IMM, _TYPE, immediate=0xFFFF),
        _instruction(_RSH_IMM, _WANTED, immediate=16),
        _instruction(_LDX_W, _MAJOR, _CONTEXT, 4),
        _instruction(_LDX_W, _MINOR, _CONTEXT, 8),
    ]
    for rule in reversed(rules):
        program += _rule(rule)
        if rule.kind == "a" and rule.major is None and rule.minor is None and set(rule.access) == set("rwm"):
            return b"".join(program)  # it always answers, and the verifier refuses what cannot be reached
    return b"".join([*program, _instruction(_MOV_IMM, _R0), _instruction(_EXIT)])


def _rule(rule: DeviceRule) -> list[bytes]:
    access = sum(_ACCESS[letter] for letter in set(rule.access))
    tests: list[tuple[int, int, int, int]] = []  # code, dst, src, immediate: "go to the next rule if …"
    before: dict[int, list[bytes]] = {}  # instructions in front of the test of that index
    if rule.kind != "a":
        tests.append((_JNE_IMM, _TYPE, 0, _TYPES[rule.kind]))
    if access != 7:
        before[len(tests)] = [
            _instruction(_MOV_REG, _SCRATCH, _WANTED),
            _instruction(_AND_IMM, _SCRATCH, immediate=access),
        ]
        # Allowed is what asks for nothing beyond the rule; denied what asks for anything of it.
        tests.append((_JNE_REG, _SCRATCH, _WANTED, 0) if rule.allow else (_JEQ_IMM, _SCRATCH, 0, 0))
    if rule.major is not None:
        tests.append((_JNE_IMM, _MAJOR, 0, rule.major))
    if rule.minor is not None:
        tests.append((_JNE_IMM, _MINOR, 0, rule.minor))
    body = [_instruction(_MOV_IMM, _R0, immediate=int(rule.allow)), _instruction(_EXIT)]
    for index in range(len(tests) - 1, -1, -1):
        code, dst, src, immediate = tests[index]
        body = [*before.get(index, []), _instruction(code, dst, src, len(body), immediate), *body]
    return body


def attach_rules(directory: str, rules: Sequence[DeviceRule]) -> None:
    """Make `rules` the device rules of the v2 group `directory`, in place of what it had from us before."""
    program_fd = _load(compile_rules(rules))
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        os.close(program_fd)
        raise KernelError.of("open", error, directory) from error
    try:
        old = _attached(group, directory)
        # ALLOW_MULTI: programs of ancestors stay in force; all must agree. New before old: no gap without rules.
        attach = struct.pack("=IIII", group, program_fd, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
        _bpf(f"attach device rules to {directory}", _PROG_ATTACH, attach, len(attach))
        for identity in old:
            _detach(group, identity, directory)
    finally:
        os.close(group)
        os.close(program_fd)


def _load(program: bytes) -> int:
    code, licence, log = room(len(program)), room(16), room(65536)
    code.raw, licence.value = program, b"Apache-2.0"
    attributes = struct.pack(
        "=IIQQIIQ",
        _TYPE_CGROUP_DEVICE,
        len(program) // 8,
        addressof(code),
        addressof(licence),
        1,
        len(log),
        addressof(log),
    )
    try:
        return _bpf("load device rules", _PROG_LOAD, attributes, len(attributes))
    except KernelError as error:
        words = " ".join(log.value.decode(errors="replace").split()[-20:])
        raise KernelError("bpf", error.errno, "load device rules", words) from None


def _attached(group: int, directory: str) -> list[int]:
    identities, query = room(64 * 4), room(32)
    # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
    struct.pack_into("=IIIIQI", query, 0, group, _ATTACH_CGROUP_DEVICE, 0, 0, addressof(identities), 64)
    _bpf(f"query device rules of {directory}", _PROG_QUERY, query, 32)
    (count,) = struct.unpack_from("=I", query.raw, 24)
    return list(struct.unpack_from(f"={count}I", identities))


def _detach(group: int, identity: int, directory: str) -> None:
    get = struct.pack("=III", identity, 0, 0)
    old = _bpf(f"program {identity}", _PROG_GET_FD_BY_ID, get, len(get))
    try:
        detach = struct.pack("=IIII", group, old, _ATTACH_CGROUP_DEVICE, 0)
        _bpf(f"detach device rules from {directory}", _PROG_DETACH, detach, len(detach))
    finally:
        os.close(old)
