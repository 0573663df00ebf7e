"""OCI's seccomp object as the kernel dictionary's plain rules, and the compiled programs of profiles seen before.

Compiling Docker's profile takes 1 ms and importing the tables 2, a good part of a start. A launcher lives for one
container, so what it has compiled is kept in files, if its caller names a directory for them: one file for a profile,
named by its content and this module's format, holding the flags and then the program. Nothing but root may write there.
"""

from __future__ import annotations

import errno
import marshal
import os
import struct

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.numbers import architecture
from groundplane.kernel.seccomp import filter as f
from groundplane.kernel.seccomp.install import FLAGS, LISTENER
from groundplane.oci.runtime_linux import Seccomp
from groundplane.oci.runtime_reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.oci.runtime_linux import SeccompArgument, SeccompRule

_ACTIONS = {
    "SCMP_ACT_KILL": f.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": f.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": f.KILL_PROCESS,
    "SCMP_ACT_TRAP": f.TRAP,
    "SCMP_ACT_ERRNO": f.ERRNO,
    "SCMP_ACT_TRACE": f.TRACE,
    "SCMP_ACT_ALLOW": f.ALLOW,
    "SCMP_ACT_LOG": f.LOG,
    "SCMP_ACT_NOTIFY": f.USER_NOTIF,
}
_OPERATORS = {
    "SCMP_CMP_NE": f.NE,
    "SCMP_CMP_LT": f.LT,
    "SCMP_CMP_LE": f.LE,
    "SCMP_CMP_EQ": f.EQ,
    "SCMP_CMP_GE": f.GE,
    "SCMP_CMP_GT": f.GT,
    "SCMP_CMP_MASKED_EQ": f.MASKED_EQ,
}
# config-linux.md, "Seccomp": what a profile may name.
_WORDS = """X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE
    S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"""
# Architectures that this machine's kernel can run; a profile names those of other machines too, to no effect.
_ARCHITECTURES = {
    "x86_64": {"SCMP_ARCH_X86_64": "x86_64", "SCMP_ARCH_X86": "x86", "SCMP_ARCH_X32": "x32"},
    "aarch64": {"SCMP_ARCH_AARCH64": "aarch64", "SCMP_ARCH_ARM": "arm"},
}


class SeccompError(GroundError):
    """The profile asks for something that does not exist, or that this runtime does not do."""


_FORMAT = b"4"  # change it when the program or the flags of one profile change


def compiled(document: Any, cache: str = "") -> tuple[bytes, int] | None:
    """The program and flags of a `linux.seccomp` object as JSON has it; None for none. `cache` is a directory.

    Raises SeccompError, RuntimeDocumentError.
    """
    if document is None:
        return None
    path = f"{cache}/{_name(document)}" if cache else ""
    if path and (found := _read(path)) is not None:
        return found
    profile = Seccomp(Reader(document, "config.json: linux.seccomp"))
    program, flags = compile_profile(profile)
    if path:
        _write(path, program, flags)
    return program, flags


def _name(document: Any) -> str:
    """A name by content. marshal's version 2 writes equal values equally; later ones also write who shares them."""
    try:
        from _blake2 import blake2b  # the C module: `hashlib` costs 3 ms at import
    except ImportError:
        from hashlib import blake2b

    name: str = blake2b(_FORMAT + architecture().encode() + marshal.dumps(document, 2), digest_size=16).hexdigest()
    return name


def _read(path: str) -> tuple[bytes, int] | None:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    return (data[4:], struct.unpack("=I", data[:4])[0]) if len(data) > 4 and len(data) % 8 == 4 else None


def _write(path: str, program: bytes, flags: int) -> None:
    """Whole or not at all; a directory that cannot be written to makes the next launch slower, and nothing else."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(struct.pack("=I", flags) + program)
        os.rename(temporary, path)
    except OSError:
        return


def compile_profile(profile: Seccomp) -> tuple[bytes, int]:
    """The program and seccomp(2) flags of a profile. Raises SeccompError."""
    from groundplane.kernel.seccomp.compiler import compile_filter  # late: a program from the cache needs no compiler

    default = _action(profile.default_action, profile.default_errno)
    notifies = _notifies(profile, default)
    rules = []
    for rule in profile.syscalls:
        if not rule.names:
            raise SeccompError("linux.seccomp.syscalls: a rule without names")
        action = _action(rule.action, rule.errno)
        if action != default:  # as runc: a rule that repeats the default says nothing
            rules += [f.Rule(rule.names, action, compares) for compares in _alternatives(rule)]
    newer = None if default in (f.ALLOW, f.LOG, f.TRACE) else f.ERRNO | errno.ENOSYS
    try:
        program = compile_filter(f.Filter(_architectures(profile), default, rules, newer))
    except ValueError as error:
        raise SeccompError(str(error)) from error
    return program, _flags(profile) | (LISTENER if notifies else 0)


def _notifies(profile: Seccomp, default: int) -> bool:
    """Whether an agent is asked. Raises SeccompError where that cannot work.

    The new process reports the listener with write(2) after the filter is in force, so nobody may have to answer for
    that one first (runc has the same two restrictions).
    """
    if default == f.USER_NOTIF:
        raise SeccompError("SCMP_ACT_NOTIFY cannot be used as default action")
    asked = [rule for rule in profile.syscalls if rule.action == "SCMP_ACT_NOTIFY"]
    if any("write" in rule.names for rule in asked):
        raise SeccompError("SCMP_ACT_NOTIFY cannot be used for the write syscall")
    if asked and not profile.listener_path:
        raise SeccompError("linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
    if profile.listener_metadata and not profile.listener_path:
        raise SeccompError("linux.seccomp: listenerMetadata needs a listenerPath")
    return bool(asked)


def _architectures(profile: Seccomp) -> list[str]:
    native = architecture()
    known = _ARCHITECTURES[native]
    listed = {known[name] for name in profile.architectures if name in known}
    if unknown := set(profile.architectures) - {f"SCMP_ARCH_{word}" for word in _WORDS.split()}:
        raise SeccompError(f"string {min(unknown)} is not a valid arch for seccomp")
    return sorted({native, *listed}, key=lambda a: (a != native, a))


def _flags(profile: Seccomp) -> int:
    """Those named. A profile that says nothing of them leaves speculation alone, as with runc and crun.

    Because a filter used to switch it off for the process, which made it slow (x86, Linux < 5.16: seccomp(2),
    SECCOMP_FILTER_FLAG_SPEC_ALLOW).
    """
    if profile.flags is None:
        return FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    bits = 0
    for name in profile.flags:
        if name not in FLAGS:
            raise SeccompError(f"seccomp flag {name!r} not known to this runtime")
        bits |= FLAGS[name]
    return bits


def _action(name: str, number: int | None) -> int:
    """The default errno is EPERM; numbers above 4095 mean 4095 to the kernel."""
    if name not in _ACTIONS:
        raise SeccompError(f"string {name} is not a valid action for seccomp")
    action = _ACTIONS[name]
    if action in (f.ERRNO, f.TRACE):
        return action | (errno.EPERM if number is None else min(number, 0xFFFF))
    if number is not None:
        raise SeccompError(f"linux.seccomp: {name} takes no errnoRet")  # config-linux.md, "Seccomp": MUST fail
    return action


def _alternatives(rule: SeccompRule) -> list[tuple[f.Compare, ...]]:
    """One conjunction of comparisons, or, where an argument is compared twice, each comparison by itself (as runc)."""
    compares = tuple([_compare(argument) for argument in rule.args])
    if len({c.index for c in compares}) < len(compares):
        return [(compare,) for compare in compares]
    return [compares]


def _compare(argument: SeccompArgument) -> f.Compare:
    if argument.op not in _OPERATORS:
        raise SeccompError(f"string {argument.op} is not a valid operator for seccomp")
    # MASKED_EQ: `value` is the mask and `valueTwo` what must be left (config-linux.md, "seccomp").
    return f.Compare(argument.index, _OPERATORS[argument.op], argument.value, argument.value_two)


def known() -> dict[str, list[str]]:
    """What a profile may name here, for `features`."""
    return {
        "actions": sorted(_ACTIONS),
        "operators": sorted(_OPERATORS),
        "archs": sorted(_ARCHITECTURES.get(os.uname().machine, ())),
        "knownFlags": sorted(FLAGS),
    }
